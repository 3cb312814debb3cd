"""Real files: every row comes in or is rejected, the counts add up, and the noise known to be there is found."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pytest

from calltune.calling.edits import changes_told_to
from calltune.calling.schema import call_problems
from calltune.data.sources import openai_traces, sharegpt, when2call, xlam
from calltune.types import Example, Preference, Rejected

Noun = Example | Preference | Rejected


def kinds(nouns: Iterable[Noun]) -> Counter[str]:
    return Counter(type(noun).__name__ for noun in nouns)


def problems(nouns: Iterable[Noun]) -> Counter[str]:
    """Kinds of what is wrong with the calls of the answers to learn."""
    examples = [noun for noun in nouns if isinstance(noun, Example)]
    return Counter(
        problem.kind
        for example in examples
        for call in example.messages[-1].tool_calls
        for problem in call_problems(call, example.tools)
    )


def rows_of(nouns: Iterable[Noun]) -> set[str]:
    return {noun.id.partition("#")[0] for noun in nouns}


@pytest.mark.parametrize(("split", "kind"), [("train_sft", "Example"), ("train_pref", "Preference")])
def test_when2call(shared_data: Path, split: str, kind: str) -> None:
    settings = when2call.Settings(path=str(shared_data / "when2call"), split=split)
    changes = Counter[str]()
    with changes_told_to(lambda where, what, found: changes.update(change.kind for change in found)):
        nouns = list(islice(when2call.read(settings), 2000))
    assert kinds(nouns) == {kind: 2000}
    assert len(rows_of(nouns)) == 2000
    assert min(changes[kind] for kind in ("type_name", "required_moved", "default_typed")) > 100


def test_when2call_pairs_of_people(shared_data: Path) -> None:
    path = str(shared_data / "when2call" / "human_pref_taskmaster.jsonl")
    nouns = list(when2call.read(when2call.Settings(path=path, split="train_pref")))
    assert kinds(nouns) == {"Preference": 407, "Rejected": 9}
    assert all(noun.reason.endswith("<TOOLCALL>: 'name' is empty") for noun in nouns if isinstance(noun, Rejected))


def test_openai_traces(shared_data: Path) -> None:
    path = str(shared_data / "traces" / "taskmaster4.openai.jsonl")
    nouns = list(openai_traces.read(openai_traces.Settings(path=path)))
    assert (len(rows_of(nouns)), kinds(nouns)) == (2494, {"Example": 8166})
    assert not problems(nouns)


def test_xlam_s_calls_break_their_own_schemas(shared_data: Path) -> None:
    changes = Counter[str]()
    with changes_told_to(lambda where, what, found: changes.update(change.kind for change in found)):
        nouns = list(xlam.read(xlam.Settings(path=str(shared_data / "traces" / "toolrl.xlam.jsonl"))))
    assert (len(rows_of(nouns)), kinds(nouns)) == (394, {"Example": 394})
    assert problems(nouns) == {"wrong_type": 160, "unknown_argument": 13}
    assert changes["type_name"] == 143
    assert changes["null_argument"] == 6


def test_sharegpt(shared_data: Path) -> None:
    nouns = list(sharegpt.read(sharegpt.Settings(path=str(shared_data / "traces" / "glaive.sharegpt.json"))))
    assert (len(rows_of(nouns)), kinds(nouns)) == (300, {"Example": 957})
    assert problems(nouns) == {"wrong_type": 1}
    assert sum(noun.behavior == "tool_call" for noun in nouns if isinstance(noun, Example)) == 211
