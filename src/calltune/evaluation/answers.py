"""What a model answered, on disk: appended as it comes, so that a killed run goes on where it stopped.

Several processes share the questions; each appends to a file of its own, and in the end all is one file, in order.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calltune.calling.parsed import ENDLESS_THOUGHT, thought_in
from calltune.errors import RunFolderError
from calltune.evaluation.jobs import SAMPLES_BETWEEN_SAVES, alike_together, not_finite_reason
from calltune.files.json_lines import read_appended, to_json, write_jsonl
from calltune.files.state import read_noun
from calltune.runtime.processes import Processes
from calltune.runtime.terminal import ProgressBar
from calltune.types import Completion, Message, Sample, Score, ToolCall

MOST_ERRORS = 0.01
"""The share of questions that may be left without an answer; beyond it there is no result."""


def completion_from(row: Mapping[str, Any], where: str = "a completion") -> Completion:
    """A `Completion` from its JSON object.

    Raises:
        RunFolderError: it is none; the message begins with `where`.
    """
    completion = read_noun(Completion, row, where)
    # An older version took the largest of nan for an answer.
    if completion.status == "ok" and (reason := not_finite_reason(completion.logprobs)):
        return Completion(completion.sample_id, None, "", "error", reason=reason)
    return completion


def completions_of(samples: Iterable[Sample]) -> Callable[[Mapping[str, Any], str], Completion]:
    """What makes the completions of these samples of their JSON objects, as `completion_from`.

    It refuses an answer without the log-likelihood, or the length, of each choice that its sample has.
    """
    choices = {sample.id: sample.choices for sample in samples}

    def read(row: Mapping[str, Any], where: str) -> Completion:
        completion = completion_from(row, where)
        asked = choices.get(completion.sample_id, {}) if completion.status == "ok" else {}
        for label in asked:
            if label not in completion.logprobs or completion.num_characters.get(label, 0) < 1:
                missing = "num_characters" if label in completion.logprobs else "logprobs"
                raise RunFolderError(f"{where}: '{missing}.{label}' is missing")
        return completion

    return read


def score_from(row: Mapping[str, Any], where: str = "a score") -> Score:
    """A `Score` from its JSON object.

    Raises:
        RunFolderError: it is none; the message begins with `where`.
    """
    return read_noun(Score, row, where)


def message_from(row: Mapping[str, Any]) -> Message:
    """A completion's `Message` from its JSON object."""
    return Message(row["role"], row["content"], tuple(ToolCall(c["name"], c["arguments"]) for c in row["tool_calls"]))


def count(completions: Sequence[Completion], scores: Sequence[Score]) -> dict[str, int]:
    """Every sample in exactly one bin: correct, wrong, malformed, truncated, error."""
    bins = Counter[str]()
    for completion, score in zip(completions, scores, strict=True):
        if score.value is None:
            bins["errors"] += 1
        elif score.value == 1:
            bins["correct"] += 1
        else:
            bins[completion.status if completion.status in ("malformed", "truncated") else "wrong"] += 1
    names = ("correct", "wrong", "malformed", "truncated", "errors")
    return {"num_samples": len(scores), **{f"num_{name}": bins[name] for name in names}}


def count_thoughts(completions: Sequence[Completion]) -> dict[str, int]:
    """How many answers hold a thought, whatever was asked for, and in how many it never ended."""
    endless = [ENDLESS_THOUGHT in one.reason for one in completions]
    held = [one.message.thought if one.message and one.message.thought else thought_in(one.text) for one in completions]
    # Of a thought that the prompt opened and that never ended, the answer holds no tag.
    with_thought = sum(bool(thought) or is_endless for thought, is_endless in zip(held, endless, strict=True))
    return {"with_thought": with_thought, "endless": sum(endless)}


def answered(file: Path) -> dict[str, Completion]:
    """A checkpoint's completions that are on disk already, by sample."""
    completions: dict[str, Completion] = {}
    for row in answer_rows(file):
        # What failed is asked again, and its failure may stand in another process's file, read later.
        if row["status"] != "error" or row["sample_id"] not in completions:
            completions[row["sample_id"]] = completion_from(row)
    return completions


def answer_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows that `answer_the_rest` appended and `keep_in_order` wrote, whichever process did.

    A last line that a kill cut off is removed from its file.
    """
    for part in sorted(file.parent.glob(f"{file.stem}*.jsonl")):
        yield from read_appended(part)


def answer_the_rest(
    file: Path,
    samples: Sequence[Sample],
    done: Collection[str],
    ask: Callable[[Sequence[Sample]], Iterable[Any]],
    doing: str,
    ours: Processes,
) -> None:
    """Ask what is not done yet, this process's share of it, and append each part's answers as they come.

    One process appends to `file` itself, several each to a file of their own beside it.

    Args:
        done: the ids of the samples that need not be asked, as `file` had them before this call.
        ask: the answers to some of the samples as rows for `to_json`, in the same order.
        doing: what the progress bar says.
    """
    # Nobody may write before all have looked at what is done.
    ours.wait()
    own = file if ours.count == 1 else file.with_stem(f"{file.stem}-{ours.rank}")
    left = alike_together([sample for sample in samples if sample.id not in done])[ours.rank :: ours.count]
    share = len(samples) // ours.count
    with ProgressBar(doing, max(share, len(left)), max(0, share - len(left))) as bar:
        for start in range(0, len(left), SAMPLES_BETWEEN_SAVES):
            part = left[start : start + SAMPLES_BETWEEN_SAVES]
            rows = ask(part)
            with own.open("a", encoding="utf-8", errors="backslashreplace") as lines:
                lines.writelines(to_json(row) + "\n" for row in rows)
            bar.advance(len(part))


def keep_in_order(file: Path, rows: Iterable[Any]) -> None:
    """Write all rows, which came in the order of the parts, in the order of the samples; the processes' files go."""
    write_jsonl(file, rows)
    for part in file.parent.glob(f"{file.stem}-*.jsonl"):
        part.unlink()
