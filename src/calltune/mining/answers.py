"""The model's answers on the disk, appended as they come, so that a killed run goes on where it stopped."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calltune.config.training import MineConfig
from calltune.evaluation.answers import completion_from
from calltune.files.json_lines import read_appended, to_json, write_jsonl
from calltune.mining.questions import Question
from calltune.runtime.processes import Processes
from calltune.runtime.terminal import ProgressBar
from calltune.types import Completion, Sampling

_QUESTIONS_BETWEEN_SAVES = 64


def read_answers(folder: Path) -> dict[str, list[Completion]]:
    """The answers to each question that has all of its own, whichever process wrote them."""
    rows = (row for file in sorted(folder.glob("answers*.jsonl")) for row in read_appended(file))
    return {row["id"]: [completion_from(answer) for answer in row["answers"]] for row in rows}


def draw_answers(
    backend: Any, questions: Sequence[Question], settings: MineConfig, seed: int, folder: Path, ours: Processes
) -> None:
    """Append what is still missing to this process's file, its share of the questions."""
    done = read_answers(folder)
    # Nobody may write before all have looked.
    ours.wait()
    file = folder / ("answers.jsonl" if ours.count == 1 else f"answers-{ours.rank}.jsonl")
    # Prompts of one length side by side, the longest first: least padding, and the worst memory comes at once.
    left = sorted((q for q in questions if q.id not in done), key=_num_characters, reverse=True)[
        ours.rank :: ours.count
    ]
    share = len(questions) // ours.count
    sampling = Sampling(settings.num_answers, settings.temperature, settings.top_p, seed)
    with ProgressBar("drawing answers", max(share, len(left)), max(0, share - len(left))) as bar:
        for start in range(0, len(left), _QUESTIONS_BETWEEN_SAVES):
            part = left[start : start + _QUESTIONS_BETWEEN_SAVES]
            answers = backend.sample(
                [question.sample for question in part],
                settings.max_new_tokens,
                sampling,
            )
            with file.open("a", encoding="utf-8", errors="backslashreplace") as lines:
                lines.writelines(to_json(_row(q.id, own)) + "\n" for q, own in zip(part, answers, strict=True))
            bar.advance(len(part))


def gather_answers(questions: Sequence[Question], folder: Path) -> list[list[Completion]]:
    """All answers in the order of the questions, which also becomes that of one file, `answers.jsonl`."""
    done = read_answers(folder)
    answers = [done[question.id] for question in questions]
    write_jsonl(folder / "answers.jsonl", (_row(q.id, own) for q, own in zip(questions, answers, strict=True)))
    for part in folder.glob("answers-*.jsonl"):
        part.unlink()
    return answers


def _row(question_id: str, answers: Sequence[Completion]) -> dict[str, Any]:
    return {"id": question_id, "answers": [asdict(answer) for answer in answers]}


def _num_characters(question: Question) -> int:
    sample = question.sample
    return sum(len(message.content) for message in sample.messages) + sum(len(str(tool)) for tool in sample.tools)
