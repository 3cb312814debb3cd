"""How eager to call: a bias on the call's log-likelihood, between needless calls and missed ones.

In multiple choice the bias (in nats per character) is added to the per-character log-likelihood of the `tool_call`
option: above 0 the model calls more often, below it less. The recommended bias makes the mean of two rates least, the
share of questions without a due call in which it is called, and the share of due calls that are missed (Youden's
criterion). It is chosen on one half of the questions and measured on the other, as a point measured where it was chosen
looks better than it is. It steers the choice between written answers; what a model writes freely it does not touch. The
benchmark `decide` has an operating point for that.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from calltune.evaluation.statistics import wilson_interval
from calltune.report.results import Measured
from calltune.types import Completion, Sample

UNIT = "nats per character, added to the call's log-likelihood per character"
CRITERION = "the least mean of needless calls and missed calls (Youden), chosen on one half, measured on the other"
_CALL = "tool_call"
_MOST_POINTS = 201


@dataclass(frozen=True, slots=True)
class Margin:
    """One question: the call wins above a bias of `threshold`, `best_other` below; at it, the one that comes first."""

    threshold: float
    target: str
    best_other: str
    call_comes_first: bool

    def called(self, bias: float) -> bool:
        """Whether the call wins at a bias."""
        return self.threshold < bias or (self.threshold == bias and self.call_comes_first)


@dataclass(frozen=True, slots=True)
class Rates:
    """At one bias: shares in [0, 1] with their 95 % intervals (Wilson), None where no question could show them."""

    bias: float
    needless_calls: float | None
    needless_calls_interval: tuple[float, float]
    missed_calls: float | None
    missed_calls_interval: tuple[float, float]
    accuracy: float | None
    accuracy_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Both rates at one bias, over all questions."""

    bias: float
    needless_calls: float
    missed_calls: float


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The recommended bias of a checkpoint, what it does where it was not chosen, and all that could be chosen."""

    bias: float
    unit: str
    criterion: str
    num_chosen_on: int
    num_measured_on: int
    at_zero: Rates
    at_bias: Rates
    curve: Sequence[CurvePoint]


def operating_points(benchmark: Measured) -> dict[str, OperatingPoint]:
    """By checkpoint the curve, the recommended bias, and what it does.

    Empty where a question has no call among its choices, or no one behaviour that is right.
    """
    samples = benchmark.samples or ()
    if not samples or any(_CALL not in sample.choices or sample.behavior is None for sample in samples):
        return {}
    found = {}
    for name in benchmark.paired():
        answered = [
            (sample, completion)
            for sample, completion in zip(samples, benchmark.answers[name].completions, strict=True)
            if completion.status == "ok"
        ]
        chosen = [_margin(s, c) for s, c in answered if in_first_half(s)]
        measured = [_margin(s, c) for s, c in answered if not in_first_half(s)]
        if {margin.target == _CALL for margin in chosen} == {True, False} and measured:
            bias = recommended_bias(chosen)
            found[name] = OperatingPoint(
                bias,
                UNIT,
                CRITERION,
                num_chosen_on=len(chosen),
                num_measured_on=len(measured),
                at_zero=rates(measured, 0.0),
                at_bias=rates(measured, bias),
                curve=curve([*chosen, *measured]),
            )
    return found


def in_first_half(sample: Sample) -> bool:
    """Whether a question is in the half that the bias is chosen on; questions of equal words are in one half."""
    words = " ".join(" ".join(message.content.split()).casefold() for message in sample.messages)
    return hashlib.sha256(words.encode("utf-8", "backslashreplace")).digest()[0] < 128


def rates(margins: Sequence[Margin], bias: float) -> Rates:
    """Needless calls, missed calls and accuracy at a bias."""
    due = [margin.called(bias) for margin in margins if margin.target == _CALL]
    undue = [margin.called(bias) for margin in margins if margin.target != _CALL]
    right = sum((_CALL if m.called(bias) else m.best_other) == m.target for m in margins)
    needless, missed = sum(undue), due.count(False)
    return Rates(
        bias,
        needless / len(undue) if undue else None,
        wilson_interval(needless, len(undue)),
        missed / len(due) if due else None,
        wilson_interval(missed, len(due)),
        right / len(margins) if margins else None,
        wilson_interval(right, len(margins)),
    )


def recommended_bias(margins: Sequence[Margin]) -> float:
    """The bias of the least mean of both rates; the nearest to 0 among equals.

    Between two neighbouring thresholds nothing changes, so only their middles are tried, and 0.
    """
    points = _sweep(margins)
    least = min(needless + missed for _, needless, missed in points)
    # Equal up to rounding of the sums.
    return min((bias for bias, needless, missed in points if needless + missed <= least + 1e-12), key=abs)


def curve(margins: Sequence[Margin]) -> list[CurvePoint]:
    """Both rates from never calling to always calling, thinned out to about two hundred points."""
    points = sorted(_sweep(margins))
    step = max(1, -(-len(points) // _MOST_POINTS))
    kept = [*points[::step], *([points[-1]] if (len(points) - 1) % step else [])]
    return [CurvePoint(*point) for point in kept]


def _sweep(margins: Sequence[Margin]) -> list[tuple[float, float, float]]:
    """(bias, needless calls, missed calls) at every bias that makes a difference, and at 0."""
    thresholds = sorted({margin.threshold for margin in margins})
    biases = [thresholds[0] - 1e-6, *((a + b) / 2 for a, b in pairwise(thresholds)), thresholds[-1] + 1e-6]
    due = sorted(margin.threshold for margin in margins if margin.target == _CALL)
    undue = sorted(margin.threshold for margin in margins if margin.target != _CALL)
    return [(bias, _share_below(undue, bias), 1 - _share_below(due, bias)) for bias in (*biases, 0.0)]


def _share_below(ordered: Sequence[float], bias: float) -> float:
    return bisect_left(ordered, bias) / len(ordered) if ordered else 0.0


def _margin(sample: Sample, completion: Completion) -> Margin:
    scores, labels = _per_character(completion), list(sample.choices)
    best_other = max((label for label in labels if label != _CALL), key=lambda label: scores[label])
    return Margin(
        scores[best_other] - scores[_CALL],
        str(sample.behavior),
        best_other,
        call_comes_first=labels.index(_CALL) < labels.index(best_other),
    )


def _per_character(completion: Completion) -> Mapping[str, float]:
    return {label: value / completion.num_characters[label] for label, value in completion.logprobs.items()}
