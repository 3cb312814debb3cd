from pathlib import Path

import pytest
from planted_run import plant_run, run_file

from calltune.config.run_file import load_config
from calltune.evaluation.jobs import open_benchmarks
from calltune.report.operating_point import Margin, curve, in_first_half, operating_points, rates, recommended_bias
from calltune.report.results import checkpoints, read_results
from calltune.types import Message, Sample


def margins(due: list[float], undue: list[float]) -> list[Margin]:
    return [Margin(t, "tool_call", "direct", False) for t in due] + [
        Margin(t, "direct", "direct", False) for t in undue
    ]


def test_an_eager_model_is_told_to_hold_back() -> None:
    # Calls win everywhere at 0, but those that are due by more.
    eager = margins(due=[-3.0, -2.5, -2.0], undue=[-1.0, -0.5, -0.2])
    bias = recommended_bias(eager)
    assert -2.0 < bias < -1.0
    assert rates(eager, 0.0).needless_calls == 1.0
    at_bias = rates(eager, bias)
    assert (at_bias.needless_calls, at_bias.missed_calls, at_bias.accuracy) == (0.0, 0.0, 1.0)


def test_a_shy_model_is_told_to_call() -> None:
    assert 1.0 < recommended_bias(margins(due=[0.5, 1.0], undue=[2.0, 3.0])) < 2.0


def test_where_nothing_is_gained_the_bias_is_zero() -> None:
    assert recommended_bias(margins(due=[-1.0, -2.0], undue=[1.0, 2.0])) == 0.0


def test_ties_go_to_the_option_that_comes_first() -> None:
    first, second = Margin(0.0, "tool_call", "direct", False), Margin(0.0, "tool_call", "cannot_answer", True)
    assert [margin.called(0.0) for margin in (first, second)] == [False, True]


def test_the_curve_goes_from_never_to_always() -> None:
    points = curve(margins(due=[n / 500 for n in range(1000)], undue=[n / 400 for n in range(1000)]))
    assert (points[0].needless_calls, points[0].missed_calls) == (0.0, 1.0)
    assert (points[-1].needless_calls, points[-1].missed_calls) == (1.0, 0.0)
    assert len(points) <= 203
    biases = [point.bias for point in points]
    assert biases == sorted(biases)


def test_questions_of_equal_words_are_in_one_half() -> None:
    def sample(number: int, text: str) -> Sample:
        return Sample(str(number), "b", (Message("user", text),), (), "direct")

    assert in_first_half(sample(1, "Book  a ROOM")) == in_first_half(sample(2, "book a room"))
    share = sum(in_first_half(sample(n, f"question {n}")) for n in range(2000)) / 2000
    assert share == pytest.approx(0.5, abs=0.05)


def test_the_point_is_measured_where_it_was_not_chosen(tmp_path: Path) -> None:
    config = load_config(run_file(plant_run(tmp_path / "toy", number=200)))
    ranked, written = read_results(open_benchmarks(config), checkpoints(config))
    assert operating_points(written) == {}
    found = operating_points(ranked)
    assert list(found) == ["base", "sft", "dpo"]
    for point in found.values():
        assert point.num_chosen_on + point.num_measured_on == 200
        assert min(point.num_chosen_on, point.num_measured_on) > 70
        low, high = point.at_bias.needless_calls_interval
        assert low <= point.at_bias.needless_calls <= high


def test_at_zero_it_is_the_benchmark_s_own_argmax(tmp_path: Path) -> None:
    config = load_config(run_file(plant_run(tmp_path / "toy", number=120)))
    ranked = read_results(open_benchmarks(config), checkpoints(config))[0]
    half = [n for n, sample in enumerate(ranked.samples or ()) if not in_first_half(sample)]
    for name, point in operating_points(ranked).items():
        scores = [ranked.answers[name].scores[n].value for n in half]
        assert point.at_zero.accuracy == pytest.approx(sum(value or 0 for value in scores) / len(scores))
