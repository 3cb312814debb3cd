"""What a checkpoint answered, on disk: kept as it comes, read back, and gone on with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calltune.evaluation.jobs import SAMPLES_BETWEEN_SAVES, Job, ask, num_characters
from calltune.files.json_lines import read_appended, to_json
from calltune.runtime.processes import Processes
from calltune.runtime.terminal import ProgressBar
from calltune.types import Completion, Message, Score, ToolCall


def completion_from(row: Mapping[str, Any]) -> Completion:
    """A `Completion` from its JSON object."""
    message = row["message"] and message_from(row["message"])
    return Completion(**{**row, "message": message})


def score_from(row: Mapping[str, Any]) -> Score:
    """A `Score` from its JSON object."""
    return Score(**row)


def message_from(row: Mapping[str, Any]) -> Message:
    """A completion's `Message` from its JSON object."""
    return Message(row["role"], row["content"], tuple(ToolCall(c["name"], c["arguments"]) for c in row["tool_calls"]))


def answered(place: Path) -> dict[str, Completion]:
    """What was answered already, by sample, whichever process wrote it."""
    rows = (row for file in sorted(place.glob("completions*.jsonl")) for row in read_appended(file))
    found: dict[str, Completion] = {}
    for row in rows:
        # What failed is asked again, and its failure may stand in another process's file, read later.
        if row["status"] != "error" or row["sample_id"] not in found:
            found[row["sample_id"]] = completion_from(row)
    return found


def answer_the_rest(backend: Any, job: Job, place: Path, description: str, ours: Processes) -> None:
    """Append what is still missing to this process's file of completions, its share of the samples."""
    done = {key for key, completion in answered(place).items() if completion.status != "error"}
    ours.wait()
    file = place / ("completions.jsonl" if ours.count == 1 else f"completions-{ours.rank}.jsonl")
    # Long prompts first, side by side with those of their length: least padding, and the worst memory comes at once.
    left = sorted((s for s in job.samples if s.id not in done), key=num_characters, reverse=True)[
        ours.rank :: ours.count
    ]
    share = len(job.samples) // ours.count
    with ProgressBar(f"evaluating {description}", max(share, len(left)), max(0, share - len(left))) as bar:
        for start in range(0, len(left), SAMPLES_BETWEEN_SAVES):
            part = left[start : start + SAMPLES_BETWEEN_SAVES]
            completions = ask(backend, job, part)
            with file.open("a", encoding="utf-8", errors="backslashreplace") as lines:
                lines.writelines(to_json(completion) + "\n" for completion in completions)
            bar.advance(len(part))
