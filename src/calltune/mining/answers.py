"""The answers that are drawn from the model, on disk: to each question a row that holds all of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calltune.config.training import MineConfig
from calltune.errors import ModelError, RunFolderError
from calltune.evaluation.answers import MOST_ERRORS, answer_rows, answer_the_rest, completion_from, keep_in_order
from calltune.mining.questions import Question
from calltune.runtime.processes import Processes
from calltune.types import Completion, Sample, Sampling, plain

ANSWERS = "answers.jsonl"


def read_answers(folder: Path) -> dict[str, list[Completion]]:
    """The answers to each question that has all of its own, whichever process wrote them."""
    found: dict[str, list[Completion]] = {}
    for row in answer_rows(folder / ANSWERS):
        answers = answers_from(row, str(folder / ANSWERS))
        # What failed is drawn again, and its failure may stand in another process's file, read later.
        if row["id"] not in found or not _failed(answers):
            found[row["id"]] = answers
    return found


def answers_from(row: Mapping[str, Any], where: str, num_answers: int | None = None) -> list[Completion]:
    """The answers of one row.

    Args:
        num_answers: how many there must be, if that is known.

    Raises:
        RunFolderError: it is no such row; the message begins with `where`.
    """
    answers = row.get("answers")
    if not isinstance(row.get("id"), str) or not isinstance(answers, list):
        raise RunFolderError(f"{where}: a row of answers must have 'id' and 'answers'")
    if num_answers not in (None, len(answers)):
        raise RunFolderError(f"{where}: '{row['id']}' has {len(answers)} answers of {num_answers}")
    if not all(isinstance(answer, dict) for answer in answers):
        raise RunFolderError(f"{where}: an answer must be an object")
    return [completion_from(answer, where) for answer in answers]


def _failed(answers: Sequence[Completion]) -> bool:
    return any(answer.status == "error" for answer in answers)


def draw_answers(
    backend: Any,
    questions: Sequence[Question],
    settings: MineConfig,
    seed: int,
    folder: Path,
    ours: Processes,
    max_new_tokens: int,
    thinks: bool,
) -> None:
    """Append what is still missing to this process's file, its share of the questions.

    Args:
        max_new_tokens: of an answer and its thought.
        thinks: whether the model is asked to think.
    """
    # A backend of the user's own need not know of thinking.
    mode = {"thinking": True} if thinks else {}
    sampling = Sampling(settings.num_answers, settings.temperature, settings.top_p, seed)

    def ask(samples: Sequence[Sample]) -> list[dict[str, Any]]:
        answers = backend.sample(samples, max_new_tokens, sampling, **mode)
        return [_row(sample.id, own) for sample, own in zip(samples, answers, strict=True)]

    samples = [question.sample for question in questions]
    done = {key for key, answers in read_answers(folder).items() if not _failed(answers)}
    answer_the_rest(folder / ANSWERS, samples, done, ask, "drawing answers", ours)


def gather_answers(questions: Sequence[Question], folder: Path) -> None:
    """Make one file of all answers, in the order of the questions.

    Raises:
        ModelError: of more than one in a hundred questions an answer could not be drawn.
    """
    done = read_answers(folder)
    failed = [done[question.id] for question in questions if _failed(done[question.id])]
    if len(failed) > MOST_ERRORS * len(questions):
        reason = next(answer.reason for answer in failed[0] if answer.status == "error")
        # Kept on the disk all the same: run again, and only these are drawn again.
        raise ModelError(
            f"{len(failed)} of {len(questions)} questions could not be answered, the first because {reason}; run again "
            "to go on"
        )
    keep_in_order(folder / ANSWERS, (_row(question.id, done[question.id]) for question in questions))


def _row(question_id: str, answers: Sequence[Completion]) -> dict[str, Any]:
    return {"id": question_id, "answers": [plain(answer) for answer in answers]}
