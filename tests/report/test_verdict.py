"""What a report says first: the verdict, the tiles, the sentence."""

from pathlib import Path

import pytest
from planted_run import plant_evaluation, plant_run, run_file

from calltune.config.run_file import load_config
from calltune.evaluation.benchmarks import when2call_generation
from calltune.evaluation.jobs import open_benchmarks
from calltune.report.findings import Findings, find
from calltune.report.results import checkpoints, read_results
from calltune.report.verdict import narrowest
from calltune.types import Completion, Message, ToolCall

GATE = '[gate]\nrules = ["when2call.acc_norm >= {}"]\n'


def found(folder: Path, extra: str = "") -> Findings:
    config = load_config(run_file(folder, extra))
    return find(config, read_results(open_benchmarks(config), checkpoints(config)))


@pytest.mark.parametrize(
    ("skill", "number", "gate", "word", "reason"),
    [
        ({"base": 0.2, "dpo": 0.9}, 80, "", "Ship", "Better beyond chance: when2call +"),
        ({"base": 0.9, "dpo": 0.2}, 80, "", "Do not ship", "Worse beyond chance: when2call \N{MINUS SIGN}"),
        ({"base": 0.5, "dpo": 0.5}, 400, "", "Do not ship", "No gain beyond chance: when2call "),
        ({"base": 0.5, "dpo": 0.5}, 40, "", "Too few questions", "40 questions of when2call: only differences above "),
        ({"base": 0.0, "dpo": 1.0}, 4, "", "Too few questions", "4 questions of when2call: only differences above "),
        ({"base": 0.2, "dpo": 0.9}, 80, "+2", "Ship", "Every rule of the gate holds."),
        ({"base": 0.9, "dpo": 0.2}, 80, "-1", "Do not ship", "dpo breaks 1 of 1 rules of the gate: when2call.acc_norm"),
        (
            {"base": 0.9, "dpo": 0.9},
            4,
            "-99",
            "Too few questions",
            "As far as that goes, every rule of the gate holds.",
        ),
        ({"base": 0.5}, 80, "", "No verdict", "Only base was measured"),
    ],
)
def test_the_verdict(tmp_path: Path, skill: dict, number: int, gate: str, word: str, reason: str) -> None:
    verdict = found(plant_run(tmp_path / "toy", number, skill), GATE.format(gate) if gate else "").verdict
    assert (verdict.word, reason in verdict.reason) == (word, True), verdict.reason
    assert verdict.decided_by == ("gate" if gate else "default")


def test_what_can_be_seen_comes_from_the_paired_interval(tmp_path: Path) -> None:
    findings = found(plant_run(tmp_path / "toy", 80, {"base": 0.2, "dpo": 0.9}))
    for power, comparison, metric in zip(
        findings.verdict.power, findings.comparisons, ("acc_norm", "behavior_accuracy"), strict=True
    ):
        low, high = comparison.metrics[metric].interval
        assert power.smallest == pytest.approx((high - low) / 2)
    # Without a single flip it is the score interval's reach: with 4 questions half of the scale.
    assert narrowest(4) == pytest.approx(0.49, abs=0.005)
    assert narrowest(0) == pytest.approx(1.0)


def written(folder: Path, checkpoint: str, answer: Message) -> None:
    settings = when2call_generation.Settings(path=str(folder / "data" / "test.jsonl"))
    samples = list(when2call_generation.samples(settings))
    completions = [Completion(sample.id, answer, "", "ok") for sample in samples]
    plant_evaluation(folder, when2call_generation, samples, completions, checkpoint)


def test_a_base_that_always_calls_is_explained(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", 40, {"base": 0.3, "dpo": 0.9})
    written(folder, "base", Message("assistant", "", (ToolCall("book_1", {"city": "Rome"}),)))
    verdict = found(folder).verdict
    assert [note.split(", whatever")[0] for note in verdict.notes] == [
        "base calls a tool in 40 of 40 questions of when2call_generation"
    ]
    assert found(plant_run(tmp_path / "other", 40, {"base": 0.3, "dpo": 0.9})).verdict.notes == []


def test_tiles_and_sentence(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", 40, {"base": 0.3, "dpo": 0.9})
    written(folder, "base", Message("assistant", "No."))
    written(folder, "dpo", Message("assistant", "Which day?"))
    verdict = found(folder).verdict
    assert [(tile.name, tile.metric, tile.num_rows) for tile in verdict.tiles] == [
        ("right decision", "behavior_accuracy", 40),
        ("exact calls", "exact_call_rate", 10),
        ("broken calls", "malformed_rate", 40),
    ]
    assert verdict.sentence == (
        "dpo decides rightly in 10 of 40 questions (base: 10, the same), makes 0 of 10 due calls exactly as expected "
        "(base: 0, the same) and breaks the call in 0 of 40 answers (base: 0, the same)."
    )


def test_more_broken_calls_are_not_shipped(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", 80, {"base": 0.2, "dpo": 0.9})
    settings = when2call_generation.Settings(path=str(folder / "data" / "test.jsonl"))
    samples = list(when2call_generation.samples(settings))
    broken = [Completion(sample.id, None, "{", "malformed", reason="no JSON") for sample in samples[:30]]
    rest = [Completion(sample.id, Message("assistant", "Which day?"), "", "ok") for sample in samples[30:]]
    written(folder, "base", Message("assistant", "Which day?"))
    plant_evaluation(folder, when2call_generation, samples, [*broken, *rest], "dpo")
    verdict = found(folder).verdict
    assert verdict.word == "Do not ship"
    assert "broken calls +37.5 points" in verdict.reason
