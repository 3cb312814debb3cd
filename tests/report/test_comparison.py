from pathlib import Path

import pytest
from planted_run import plant_evaluation, plant_run, run_file

from calltune.config.run_file import load_config
from calltune.evaluation.benchmarks import bfcl, when2call
from calltune.evaluation.jobs import open_benchmarks
from calltune.evaluation.statistics import mcnemar
from calltune.report.comparison import Difference, compare, compare_all, own_intervals, row_facts
from calltune.report.results import Measured, checkpoints, read_results
from calltune.types import BEHAVIORS, Completion, Message, ToolCall

BFCL_TOY = Path(__file__).parents[1] / "gold" / "bfcl_toy"


def measured(folder: Path, extra: str = "") -> list[Measured]:
    config = load_config(run_file(folder, extra))
    return read_results(open_benchmarks(config), checkpoints(config))


def ranked(sample_id: str, best: str, status: str = "ok") -> Completion:
    logprobs = {label: -1.0 if label == best else -9.0 for label in BEHAVIORS}
    return Completion(sample_id, None, "", status, logprobs, dict.fromkeys(BEHAVIORS, 10))  # type: ignore[arg-type]


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Ten questions: base is right on the first four, sft on the fourth to eighth, and sft could not be asked one."""
    folder = plant_run(tmp_path / "toy", number=10, skill={})
    samples = list(when2call.samples(when2call.Settings(path=str(folder / "data" / "test.jsonl"))))

    def answers(right: range, failed: int | None = None) -> list[Completion]:
        return [
            ranked(
                s.id,
                s.target if n in right else BEHAVIORS[(n + 1) % 4],
                "error" if n == failed else "ok",
            )
            for n, s in enumerate(samples)
        ]

    plant_evaluation(folder, when2call, samples, answers(range(4)), "base")
    plant_evaluation(folder, when2call, samples, answers(range(3, 8), failed=9), "sft")
    return folder


def test_wins_losses_and_flips(planted: Path) -> None:
    (benchmark,) = measured(planted)
    (found,) = compare_all(benchmark, row_facts(benchmark))
    assert (found.before, found.after, found.num_rows, found.num_left_out) == ("base", "sft", 9, 1)
    whole = found.groups[0]
    assert (whole.wins, whole.losses) == (4, 3)
    assert whole.p_value == mcnemar(3, 4)
    assert [(flip.sample_id, flip.kind) for flip in found.flips] == [
        *((f"q-{n}", "loss") for n in range(3)),
        *((f"q-{n}", "win") for n in range(4, 8)),
    ]
    assert (found.flips[0].before, found.flips[0].after) == ("direct", "tool_call")


def test_differences_are_over_the_rows_that_both_could_be_scored_on(planted: Path) -> None:
    (benchmark,) = measured(planted)
    (found,) = compare_all(benchmark, row_facts(benchmark))
    accuracy = found.metrics["acc_norm"]
    assert (accuracy.before, accuracy.after) == (4 / 9, 5 / 9)
    assert accuracy.difference == pytest.approx(1 / 9)
    assert accuracy.interval[0] < 0 < accuracy.interval[1]


def test_every_class_by_itself(planted: Path) -> None:
    (benchmark,) = measured(planted)
    (found,) = compare_all(benchmark, row_facts(benchmark))
    classes = {group.name: (group.num_rows, group.wins, group.losses) for group in found.groups if group.kind}
    assert classes == {
        "direct": (3, 1, 1),
        "tool_call": (2, 1, 1),
        "request_for_info": (2, 1, 1),
        "cannot_answer": (2, 1, 0),
    }


def test_every_metric_of_when2call_has_a_paired_interval_and_one_of_its_own(tmp_path: Path) -> None:
    for benchmark in measured(plant_run(tmp_path / "toy")):
        facts = row_facts(benchmark)
        found = compare(benchmark, facts, "base", "dpo")
        metrics = benchmark.answers["base"].result.metrics
        wanted = {name for name, value in metrics.items() if value is not None and not name.startswith("baseline_")}
        assert set(found.metrics) == wanted
        assert set(own_intervals(benchmark, facts)["base"]) == wanted
        for name, difference in found.metrics.items():
            assert difference.before == pytest.approx(metrics[name]), name
            assert difference.interval[0] <= difference.difference <= difference.interval[1], name


def test_bfcl_by_category_and_by_its_own_weighting(tmp_path: Path) -> None:
    settings = bfcl.Settings(path=str(BFCL_TOY))
    samples = list(bfcl.samples(settings))
    folder = plant_run(tmp_path / "toy", skill={})
    call = Message("assistant", "", (ToolCall("nowhere", {}),))
    silent = Message("assistant", "No.")
    for checkpoint, message in (("base", silent), ("sft", call)):
        completions = [Completion(sample.id, message, "", "ok") for sample in samples]
        plant_evaluation(folder, bfcl, samples, completions, checkpoint)
    extra = f'[[evaluate.benchmarks]]\nname = "bfcl"\npath = "{BFCL_TOY}"\n'
    (benchmark,) = measured(folder, extra)
    (found,) = compare_all(benchmark, row_facts(benchmark))
    metrics = benchmark.answers["sft"].result.metrics
    assert set(found.metrics) == {name for name, value in metrics.items() if value is not None}
    assert {"overall_ast", "non_live_ast", "irrelevance_mean", "overall_single_turn"} <= set(found.metrics)
    groups = {group.name: group for group in found.groups if group.kind == "category"}
    assert groups["irrelevance"].losses == groups["irrelevance"].num_rows
    assert found.metrics["irrelevance_mean"].difference == -1


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    plant_run(tmp_path / "other")
    folder = plant_run(tmp_path / "toy")
    found = measured(folder, f'[report]\ncompare = ["{tmp_path}/other"]\n')
    names = list(found[0].answers)
    # The base of a run of the same model is this run's base.
    assert names == ["base", "sft", "dpo", "other:sft", "other:dpo"]
    pairs = [(c.before, c.after) for c in compare_all(found[0], row_facts(found[0]))]
    assert pairs[-2:] == [("other:sft", "sft"), ("other:dpo", "dpo")]


def test_a_run_that_was_asked_other_questions_is_not_paired(tmp_path: Path) -> None:
    plant_run(tmp_path / "other", number=12)
    found = measured(plant_run(tmp_path / "toy"), f'[report]\ncompare = ["{tmp_path}/other"]\n')
    assert set(found[0].unpaired) == {"other:sft", "other:dpo"}
    assert found[0].paired() == ["base", "sft", "dpo"]


def test_hardly_any_flips_are_not_certainty(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", number=24, skill={"base": 1.0, "sft": 1.0})
    (found,) = compare_all(benchmark := measured(folder)[0], row_facts(benchmark))
    assert found.flips == []
    assert found.metrics["acc_norm"].interval == pytest.approx((-0.138, 0.138), abs=1e-3)


@pytest.mark.parametrize(
    ("interval", "less_is_better", "direction"),
    [
        ((0.01, 0.2), False, "better"),
        ((0.01, 0.2), True, "worse"),
        ((-0.2, -0.01), False, "worse"),
        ((-0.2, -0.01), True, "better"),
        ((-0.1, 0.1), True, "uncertain"),
        ((0.0, 0.1), False, "uncertain"),
    ],
)
def test_which_way_a_difference_goes(interval: tuple[float, float], less_is_better: bool, direction: str) -> None:
    assert Difference(0.5, 0.6, 0.1, interval, 40).direction(less_is_better=less_is_better) == direction
