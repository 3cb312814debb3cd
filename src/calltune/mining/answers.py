"""The answers that are drawn from the model, on disk: to each question a row that holds all of its own."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calltune.config.training import MineConfig
from calltune.errors import ModelError
from calltune.evaluation.answers import MOST_ERRORS, answer_rows, answer_the_rest, completion_from, keep_in_order
from calltune.mining.questions import Question
from calltune.runtime.processes import Processes
from calltune.types import Completion, Sample, Sampling


def read_answers(folder: Path) -> dict[str, list[Completion]]:
    """The answers to each question that has all of its own, whichever process wrote them."""
    found: dict[str, list[Completion]] = {}
    for row in answer_rows(_file(folder)):
        answers = [completion_from(answer) for answer in row["answers"]]
        # What failed is drawn again, and its failure may stand in another process's file, read later.
        if row["id"] not in found or not _failed(answers):
            found[row["id"]] = answers
    return found


def _failed(answers: Sequence[Completion]) -> bool:
    return any(answer.status == "error" for answer in answers)


def draw_answers(
    backend: Any, questions: Sequence[Question], settings: MineConfig, seed: int, folder: Path, ours: Processes
) -> None:
    """Append what is still missing to this process's file, its share of the questions."""
    sampling = Sampling(settings.num_answers, settings.temperature, settings.top_p, seed)

    def ask(samples: Sequence[Sample]) -> list[dict[str, Any]]:
        answers = backend.sample(samples, settings.max_new_tokens, sampling)
        return [_row(sample.id, own) for sample, own in zip(samples, answers, strict=True)]

    samples = [question.sample for question in questions]
    done = {key for key, answers in read_answers(folder).items() if not _failed(answers)}
    answer_the_rest(_file(folder), samples, done, ask, "drawing answers", ours)


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
    keep_in_order(_file(folder), (_row(question.id, done[question.id]) for question in questions))


def _file(folder: Path) -> Path:
    return folder / "answers.jsonl"


def _row(question_id: str, answers: Sequence[Completion]) -> dict[str, Any]:
    return {"id": question_id, "answers": [asdict(answer) for answer in answers]}
