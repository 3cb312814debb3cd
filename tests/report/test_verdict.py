"""What a report says first: the verdict, the tiles, the sentence."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from planted_run import plant_evaluation, plant_run, run_file

from calltune.config.run_file import load_config
from calltune.evaluation.benchmarks import decide, when2call_generation
from calltune.evaluation.decisions import OUTSIDE, RAW
from calltune.evaluation.jobs import open_benchmarks
from calltune.report.decision import narrowest
from calltune.report.findings import Findings, find
from calltune.report.results import checkpoints, read_results
from calltune.report.tiles import sentence
from calltune.types import BEHAVIORS, Completion, Message, ToolCall

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
    larger = [replace(tile, num_rows=3652, before=0.0002, after=1 / 3) for tile in verdict.tiles]
    assert sentence(larger, "base", "dpo").startswith(
        "dpo decides rightly in 33.3 % of 3,652 questions (base: under 0.1 %, which may be chance), makes 33.3 % of "
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


def disagreeing(folder: Path, chosen: dict[str, float], written: dict[str, float]) -> Path:
    """A run whose checkpoints choose answers with one skill and write them with another."""
    other = plant_run(folder.parent / "chosen" / folder.name, 200, chosen)
    plant_run(folder, 200, written)
    for name in chosen:
        shutil.rmtree(folder / "eval" / name / "when2call")
        shutil.copytree(other / "eval" / name / "when2call", folder / "eval" / name / "when2call")
    return folder


@pytest.mark.parametrize("gate", ["", '[gate]\nrules = ["when2call.acc_norm >= +2"]\n'])
def test_an_earlier_checkpoint_that_is_better_is_the_one_to_ship(tmp_path: Path, gate: str) -> None:
    findings = found(plant_run(tmp_path / "toy", 200, {"base": 0.1, "sft": 0.9, "dpo": 0.5}), gate)
    verdict = findings.verdict
    assert (verdict.word, verdict.title, verdict.better) == ("Do not ship", "Ship sft, not dpo", "sft")
    assert (verdict.decided_by, findings.passed) == ("earlier", True if gate else None)
    assert verdict.reason.startswith("dpo is worse than sft beyond chance: when2call_generation \N{MINUS SIGN}")
    assert verdict.reason.endswith('To export it: [export] checkpoint = "sft".')
    shipped = "sft itself, compared with base: " + (
        "every rule of the gate" if gate else "better beyond chance: when2call"
    )
    assert shipped in verdict.reason
    assert "dpo decides rightly in " in verdict.sentence
    assert "sft decides rightly in " in verdict.sentence
    assert "dpo against sft: worse: " in findings.headline.text
    # Judged by itself, it is the one to ship.
    alone = found(tmp_path / "toy", '[gate]\ncheckpoint = "sft"\n').verdict
    assert (alone.title, alone.better) == ("Ship", "")


def test_what_is_written_counts_before_what_is_chosen(tmp_path: Path) -> None:
    less, more = {"base": 0.1, "sft": 0.5, "dpo": 0.9}, {"base": 0.1, "sft": 0.9, "dpo": 0.5}
    verdict = found(disagreeing(tmp_path / "toy", chosen=less, written=more)).verdict
    assert verdict.title == "Ship sft, not dpo"
    assert "beyond chance: when2call_generation \N{MINUS SIGN}" in verdict.reason
    assert "Better: when2call +" in verdict.reason
    assert "which counts less" in verdict.reason
    verdict = found(disagreeing(tmp_path / "other", chosen=more, written=less)).verdict
    assert (verdict.title, verdict.better, verdict.decided_by) == ("Do not ship", "", "earlier")
    assert verdict.reason.endswith(
        'neither is better in all that decides. To choose one: [export] checkpoint = "sft" or "dpo".'
    )


def test_an_earlier_checkpoint_that_could_not_be_shipped_is_no_better_choice(tmp_path: Path) -> None:
    less, more = {"base": 0.1, "sft": 0.5, "dpo": 0.9}, {"base": 0.1, "sft": 0.9, "dpo": 0.5}
    folder = disagreeing(tmp_path / "toy", chosen=less, written=more)
    verdict = found(folder, '[gate]\nrules = ["when2call.acc_norm >= 0.8"]\n').verdict
    assert (verdict.title, verdict.better, verdict.decided_by) == ("Ship", "", "gate")
    assert verdict.notes[0].startswith("dpo is worse than sft beyond chance: when2call_generation ")
    assert "But sft is no better choice. sft itself, compared with base: sft breaks 1 of 1 rules" in verdict.notes[0]


def test_what_it_would_decide_is_not_written(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", 200, {"base": 0.1, "sft": 0.9, "dpo": 0.5})
    samples = list(decide.samples(decide.Settings(path=str(folder / "data" / "test.jsonl"))))
    for checkpoint, share in {"base": 0.1, "sft": 0.5, "dpo": 0.9}.items():
        completions = []
        for number, sample in enumerate(samples):
            others = [name for name in BEHAVIORS if name != sample.target]
            likely = sample.target if number % 10 < 10 * share else others[number % 3]
            chances = {name: math.log(0.7 if name == likely else 0.1) for name in BEHAVIORS}
            raw = {RAW + name: value for name, value in chances.items()}
            logprobs = {**chances, **raw, OUTSIDE: math.log(0.01)}
            completions.append(Completion(sample.id, None, likely, "ok", logprobs=logprobs))
        plant_evaluation(folder, decide, samples, completions, checkpoint)
    verdict = found(folder, '[[evaluate.benchmarks]]\nname = "decide"\npath = "{run}/data/test.jsonl"\n').verdict
    assert verdict.title == "Ship sft, not dpo"
    assert "Better: decide +" in verdict.reason
    assert "which counts less: there it writes no answer." in verdict.reason


def test_of_several_earlier_rounds_the_best_is_named(tmp_path: Path) -> None:
    skill = {"base": 0.1, "sft": 0.7, "dpo": 0.95, "dpo-2": 0.4}
    mine = "[mine]\nrounds = 2\n"
    verdict = found(plant_run(tmp_path / "toy", 200, skill), mine).verdict
    assert verdict.title == "Ship dpo, not dpo-2"
    skill = {"base": 0.1, "sft": 0.9, "dpo": 0.4, "dpo-2": 0.7}
    verdict = found(plant_run(tmp_path / "other", 200, skill), mine).verdict
    assert verdict.title == "Ship sft, not dpo-2"
    skill = {"base": 0.1, "sft": 0.4, "dpo": 0.7, "dpo-2": 0.95}
    assert found(plant_run(tmp_path / "rising", 200, skill), mine).verdict.title == "Ship"


def test_a_difference_that_may_be_chance_holds_nothing_back(tmp_path: Path) -> None:
    verdict = found(plant_run(tmp_path / "toy", 80, {"base": 0.1, "sft": 0.72, "dpo": 0.7})).verdict
    assert (verdict.title, verdict.better) == ("Ship", "")
