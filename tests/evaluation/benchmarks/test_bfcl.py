"""BFCL: the verdict and its reason for every kind of completion, and BFCL's weighting. Equality: tests/gold."""

from pathlib import Path
from typing import Any

import pytest

from calltune.evaluation.benchmarks import bfcl
from calltune.evaluation.benchmarks.bfcl_literals import read_java
from calltune.evaluation.benchmarks.bfcl_rows import CATEGORIES
from calltune.types import Completion, Message, Sample, Score, Tool, ToolCall

TOY = Path(__file__).parents[2] / "gold" / "bfcl_toy"
WIND = Sample(
    "simple_python_0",
    "bfcl",
    (Message("user", "Wind it twice."),),
    (Tool("clock_wind", "Winds a clock.", {"type": "object"}),),
    {
        "expect": "calls",
        "language": "python",
        "calls": [
            {
                "name": "clock_wind",
                "required": ["turns"],
                "arguments": {"turns": {"accepted": [2], "type": "integer", "items": None}},
            }
        ],
    },
)


def toy_samples() -> dict[str, Sample]:
    return {sample.id: sample for sample in bfcl.samples(bfcl.Settings(path=str(TOY)))}


def ok(sample: Sample, *calls: ToolCall, text: str = "") -> Completion:
    return Completion(sample.id, Message("assistant", text, calls), text, "ok")


def test_every_status_has_its_label() -> None:
    samples = toy_samples()
    for sample_id in ("simple_python_0", "irrelevance_0", "live_relevance_0"):
        sample = samples[sample_id]
        for status in ("malformed", "truncated"):
            verdict = bfcl.score(sample, Completion(sample.id, None, "<tool_call>{", status, reason="not closed"))
            assert verdict == Score(sample.id, 0.0, status, "not closed")
        failed = bfcl.score(sample, Completion(sample.id, None, "", "error", reason="HTTP 500"))
        assert failed == Score(sample.id, None, "error", "HTTP 500")


@pytest.mark.parametrize(
    ("calls", "label", "reason"),
    [
        ([("clock_wind", {"turns": 2})], "correct", ""),
        ([], "missed_call", "no call, 1 expected"),
        ([("clock_wind", {"turns": 2})] * 2, "wrong_count", "2 calls, 1 expected"),
        ([("a", {})] * 2, "wrong_count", "2 calls, 1 expected; there is no tool 'a'"),
        ([("clock.wind", {"turns": 2})], "invented_tool", "there is no tool 'clock.wind', 'clock_wind' was expected"),
        ([("clock_wind", {})], "missing_argument", "'clock_wind' needs 'turns'"),
        (
            [("clock_wind", {"turns": 2, "at": 1.0})],
            "extra_argument",
            "'clock_wind' was given 'at', which is not expected",
        ),
        ([("clock_wind", {"turns": 3})], "wrong_value", "'turns' of 'clock_wind' is 3, not accepted; expected 2"),
        (
            [("clock_wind", {"turns": "2"})],
            "wrong_type",
            "'turns' of 'clock_wind' is \"2\", not of type integer; expected 2",
        ),
    ],
)
def test_reasons(calls: list[tuple[str, dict[str, Any]]], label: str, reason: str) -> None:
    verdict = bfcl.score(WIND, ok(WIND, *(ToolCall(name, arguments) for name, arguments in calls)))
    assert verdict == Score(WIND.id, float(label == "correct"), label, reason)


def test_other_reasons() -> None:
    samples = toy_samples()
    needless = bfcl.score(samples["irrelevance_0"], ok(samples["irrelevance_0"], ToolCall("light_set", {})))
    assert needless.reason == "'light_set' was called, no call expected"
    missed = bfcl.score(samples["live_relevance_0"], ok(samples["live_relevance_0"], text="It is."))
    assert missed.reason == "no call, one was expected"
    wrong = bfcl.score(samples["multiple_0"], ok(samples["multiple_0"], ToolCall("blind_set", {"room": "hall"})))
    assert wrong.reason == "'blind_set' was called, 'light_set' expected"


def test_long_values_are_shortened_in_reasons() -> None:
    verdict = bfcl.score(WIND, ok(WIND, ToolCall("clock_wind", {"turns": "2" * 1000})))
    assert len(verdict.reason) < 200


def _scored(**values: list[float | None]) -> tuple[list[Sample], list[Completion], list[Score]]:
    samples, scores = [], []
    for category, of_category in values.items():
        for number, value in enumerate(of_category):
            samples.append(Sample(f"{category}_{number}-0-0", "bfcl", (), (), {}))
            label = {None: "error", 0.0: "wrong_tool", 1.0: "correct"}[value]
            scores.append(Score(samples[-1].id, value, label))
    return samples, [ok(sample) for sample in samples], scores


def test_weighting_is_bfcls() -> None:
    summary = bfcl.summarize(
        *_scored(
            simple_python=[1.0, 1.0, 1.0, 0.0],
            simple_java=[0.0],
            simple_javascript=[1.0, 1.0, None],
            multiple=[1.0],
            parallel=[0.0],
            parallel_multiple=[1.0, 0.0],
            irrelevance=[1.0, 1.0],
            live_simple=[1.0],
            live_multiple=[1.0, 0.0, 0.0],
            live_parallel=[0.0],
            live_parallel_multiple=[0.0, None],
            live_irrelevance=[0.0, 1.0],
            live_relevance=[1.0],
        )
    )
    metrics = summary.metrics
    assert metrics["accuracy_simple_python"] == 0.75
    assert metrics["accuracy_simple_javascript"] == 1.0  # the row in error is in no average
    assert metrics["non_live_ast"] == pytest.approx(((0.75 + 0.0 + 1.0) / 3 + 1.0 + 0.0 + 0.5) / 4)
    assert metrics["live_ast"] == pytest.approx(2 / 6)
    assert metrics["irrelevance_mean"] == pytest.approx((1.0 + 0.5) / 2)
    assert metrics["overall_ast"] == pytest.approx((metrics["non_live_ast"] + metrics["live_ast"]) / 2)
    assert metrics["overall_single_turn"] == pytest.approx(
        (metrics["non_live_ast"] + metrics["live_ast"] + metrics["irrelevance_mean"]) / 3
    )
    assert metrics["wrong_tool_rate"] == pytest.approx(9 / 22)
    assert metrics["needless_call_rate"] == metrics["truncated_rate"] == 0.0
    assert summary.primary_metric == "overall_ast"
    assert set(summary.intervals) == {"live_ast", *(f"accuracy_{category}" for category in CATEGORIES)}
    for name, (low, high) in summary.intervals.items():
        assert low <= metrics[name] <= high


def test_absent_categories_are_none_and_in_no_mean() -> None:
    metrics = bfcl.summarize(*_scored(simple_java=[1.0, 0.0], parallel=[1.0])).metrics
    assert metrics["non_live_ast"] == metrics["overall_ast"] == metrics["overall_single_turn"] == 0.75
    assert metrics["live_ast"] is None
    assert metrics["irrelevance_mean"] is None
    assert [name for name in metrics if name.startswith("accuracy_") and metrics[name] is not None] == [
        *("accuracy_simple_java", "accuracy_parallel"),
    ]


def test_nothing_but_errors_is_no_number() -> None:
    metrics = bfcl.summarize(*_scored(parallel=[None, None])).metrics
    assert set(metrics.values()) == {None}


def test_a_loop_in_a_java_map_is_read_at_once() -> None:
    loop = 'put("a", ' * 3_000
    assert read_java(f"new HashMap<>() {{{{ {loop} }}}}", "HashMap") == {}
    assert read_java(f'new HashMap<>() {{{{ put("a", 1); {loop} }}}}', "HashMap") == {"a": 1}
