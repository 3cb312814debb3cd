"""The figures of decided questions, by hand."""

from math import exp, log

import pytest

from calltune.evaluation.benchmarks import decide
from calltune.evaluation.decisions import OUTSIDE, RAW
from calltune.types import BEHAVIORS, Behavior, Completion, Message, Sample


def asked(number: int, right: Behavior) -> Sample:
    return Sample(f"q-{number}", "decide", (Message("user", "q"),), (), right, behavior=right)


def decided(number: int, behavior: str, *probabilities: float) -> Completion:
    logprobs = {name: log(value) for name, value in zip(BEHAVIORS, probabilities, strict=True)}
    raw = {RAW + name: log(0.25) for name in BEHAVIORS}
    return Completion(f"q-{number}", None, behavior, "ok", logprobs={**logprobs, **raw, OUTSIDE: log(0.1)})


SAMPLES = [asked(0, "tool_call"), asked(1, "direct"), asked(2, "tool_call"), asked(3, "cannot_answer")]
COMPLETIONS = [
    decided(0, "tool_call", 0.1, 0.7, 0.1, 0.1),
    # At its operating point it calls, though an answer is likelier.
    decided(1, "tool_call", 0.5, 0.4, 0.05, 0.05),
    decided(2, "direct", 0.8, 0.1, 0.05, 0.05),
    Completion("q-3", None, "", "error", reason="not finite"),
]


def test_figures_by_hand() -> None:
    scores = decide.score_all(SAMPLES, COMPLETIONS, decide.Settings(), None)  # type: ignore[arg-type]
    assert [score.value for score in scores] == [1.0, 0.0, 0.0, None]
    summary = decide.summarize(SAMPLES, COMPLETIONS, scores)
    metrics = summary.metrics
    assert set(metrics) <= set(decide.METRICS)
    assert metrics["accuracy"] == pytest.approx(1 / 3)
    # The likeliest is right with 0.7 and 0.5, and wrong with 0.8.
    assert metrics["ece"] == pytest.approx((0.3 + 0.5 + 0.8) / 3)
    assert metrics["ece_raw"] == pytest.approx(abs(1 / 3 - 0.25))
    assert metrics["brier"] == pytest.approx((0.12 + (0.25 + 0.16 + 0.005) + (0.64 + 0.81 + 0.005)) / 6)
    assert metrics["auroc_call"] == pytest.approx(1 / 2)
    # From the surest on: wrong, right, right.
    assert metrics["aurc"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert metrics["risk_at_50"] == pytest.approx(1 / 2)
    assert (metrics["needless_calls"], metrics["missed_calls"]) == (1.0, 0.5)
    assert metrics["outside"] == pytest.approx(exp(log(0.1)))
    assert summary.confusion["by_decision"]["counts"][1] == [1, 1, 0, 0]


def test_errors_alone_give_no_figures() -> None:
    scores = decide.score_all(SAMPLES[3:], COMPLETIONS[3:], decide.Settings(), None)  # type: ignore[arg-type]
    assert set(decide.summarize(SAMPLES[3:], COMPLETIONS[3:], scores).metrics.values()) == {None}
