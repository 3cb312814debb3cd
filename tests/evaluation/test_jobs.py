"""Which questions a benchmark asks, as an evaluation that is on the disk knows them."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from planted_run import plant_questions

from calltune.evaluation.benchmarks import BENCHMARKS
from calltune.evaluation.jobs import alike_together, questions_sha256
from calltune.types import BEHAVIORS, Message, Sample, Tool

BFCL_TOY = Path(__file__).parents[1] / "gold" / "bfcl_toy"
JUDGE = {"model": "m", "base_url": "http://127.0.0.1:9/v1"}


def samples(name: str, folder: Path) -> list[Sample]:
    plant_questions(folder / "q.jsonl", 12)
    options = {"path": str(BFCL_TOY if name == "bfcl" else folder / "q.jsonl")}
    module = import_module(BENCHMARKS.modules[name])
    keys = {**options, "judge": JUDGE} if name == "when2call_judge" else options
    return list(module.samples(module.Settings.model_validate(keys)))


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("bfcl", "87f220a76bb3f7b33751d842565cda6cf998b2e4d28eeb3088133c6d794582a6"),
        ("when2call", "2ba757fea3ef793d154e351c9c83c4891adbf25ba7eb91982f0c73d4ed167672"),
        ("when2call_generation", "abb127966ad399cab2d59ff781b70e2f6d1a95987e062ae7f940dc486e285191"),
        ("when2call_judge", "80afa00248aa6120b03201ecc1d7686522933376e98026d32643750c8c8370ad"),
    ],
)
def test_evaluations_on_disks_stay_complete(name: str, recorded: str, tmp_path: Path) -> None:
    """The hashes as they were before a question said its behaviour and its group."""
    assert questions_sha256(samples(name, tmp_path)) == recorded


def test_other_questions_have_another_hash(tmp_path: Path) -> None:
    asked = samples("when2call", tmp_path)
    known = questions_sha256(asked)
    for changed in (replace(asked[0], target="direct?"), replace(asked[0], messages=()), replace(asked[0], id="x")):
        assert questions_sha256([changed, *asked[1:]]) != known


@pytest.mark.parametrize("name", ["when2call", "when2call_generation", "when2call_judge"])
def test_a_question_of_when2call_is_of_its_class(name: str, tmp_path: Path) -> None:
    asked = samples(name, tmp_path)
    assert [sample.behavior for sample in asked] == [*BEHAVIORS] * 3
    assert [sample.group for sample in asked] == [("class", behavior) for behavior in BEHAVIORS] * 3


def test_a_question_of_bfcl_is_of_its_category(tmp_path: Path) -> None:
    said = {sample.group: sample.behavior for sample in samples("bfcl", tmp_path)}
    assert said.pop(("category", "irrelevance")) is None
    assert said.pop(("category", "live_irrelevance")) is None
    assert {("category", "simple_java"), ("category", "parallel"), ("category", "live_relevance")} <= set(said)
    assert set(said.values()) == {"tool_call"}


def test_questions_with_the_same_tools_are_asked_side_by_side() -> None:
    few, many = (tuple(Tool(f"t{count}_{number}", "", {}) for number in range(count)) for count in (1, 9))
    asked = [("a", few, 1), ("b", many, 2), ("c", few, 900), ("d", many, 1), ("e", few, 5), ("f", (), 3)]
    samples = [Sample(name, "toy", (Message("user", "x" * length),), tools, None) for name, tools, length in asked]
    assert [sample.id for sample in alike_together(samples)] == ["c", "e", "a", "b", "d", "f"]
    assert alike_together([]) == []
