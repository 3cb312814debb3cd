"""Two checkpoints on the same questions: what got better, what got worse, and how sure that is.

Only questions that both could be scored on enter. Every difference has a paired 95 % bootstrap interval, but a share in
which fewer than ten rows differ has Tango's, as a bootstrap of so few is far too sure. Wins and losses (right by one
side alone) are tested by McNemar's exact test, and by its mid-p-value beside it. The p-values are those of each test by
itself: who looks at twenty of them will find one below 0.05 by chance.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeGuard

from calltune.evaluation.statistics import mcnemar, mcnemar_mid_p, tango_interval, wilson_interval
from calltune.report.measures import RowFacts, facts_by_row, measures, verified
from calltune.report.resampling import Interval, Measure, Ratio, intervals, paired_intervals, value_of
from calltune.report.results import Measured
from calltune.types import Score

_SEED = 0
_FEWEST_FLIPS = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric on both sides and the second less the first, all as shares; `interval` is the difference's.

    `num_rows` is how many rows the metric is about, the denominator of a share.
    """

    before: float
    after: float
    difference: float
    interval: Interval
    num_rows: int

    def direction(self, *, less_is_better: bool = False) -> Literal["better", "worse", "uncertain"]:
        """Which way it went beyond its interval."""
        low, high = self.interval
        if low <= 0 <= high:
            return "uncertain"
        return "better" if (low > 0) != less_is_better else "worse"


@dataclass(frozen=True, slots=True)
class Group:
    """A part of the questions (one class, one category) or all of them (`kind` is empty)."""

    kind: str
    name: str
    num_rows: int
    wins: int
    losses: int
    accuracy: Difference
    p_value: float
    mid_p_value: float


@dataclass(frozen=True, slots=True)
class Flip:
    """A question that one side got right and the other did not."""

    sample_id: str
    kind: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class LabelChange:
    """How often one label became another."""

    before: str
    after: str
    count: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`after` against `before` on one benchmark; `num_left_out` rows could not be scored on both sides."""

    benchmark: str
    before: str
    after: str
    num_rows: int
    num_left_out: int
    metrics: Mapping[str, Difference]
    groups: Sequence[Group]
    flips: Sequence[Flip]
    label_changes: Sequence[LabelChange]


def row_facts(benchmark: Measured) -> dict[str, list[RowFacts]]:
    """By checkpoint, what every row gives by itself."""
    samples = benchmark.samples or ()
    return {name: facts_by_row(benchmark.module, samples, benchmark.answers[name]) for name in benchmark.paired()}


def own_intervals(benchmark: Measured, facts: Mapping[str, Sequence[RowFacts]]) -> dict[str, dict[str, Interval]]:
    """By checkpoint and metric its 95 % interval: the benchmark's own, Wilson's for a share, else the bootstrap's."""
    found: dict[str, dict[str, Interval]] = {}
    for name, answers in benchmark.answers.items():
        given = {metric: (low, high) for metric, (low, high) in answers.result.intervals.items()}
        if name in facts:
            known = verified(measures(benchmark.module, facts[name]), answers.result.metrics)
            shares = {metric: interval for metric, m in known.items() if (interval := _wilson(m))}
            others = {metric: m for metric, m in known.items() if metric not in {**shares, **given}}
            given = {**intervals(others, _SEED), **shares, **given}
        found[name] = given
    return found


def compare_all(benchmark: Measured, facts: Mapping[str, Sequence[RowFacts]]) -> list[Comparison]:
    """This run's checkpoints with each other, and each with the same one of every other run (the other's first)."""
    own = [name for name in facts if ":" not in name]
    pairs = list(combinations(own, 2))
    pairs += [(name, mine) for name in facts for mine in own if name.endswith(f":{mine}")]
    return [found for pair in pairs if (found := compare(benchmark, facts, *pair)).num_rows]


def compare(benchmark: Measured, facts: Mapping[str, Sequence[RowFacts]], before: str, after: str) -> Comparison:
    """What changes from one checkpoint to another."""
    samples = benchmark.samples or ()
    scores = {name: benchmark.answers[name].scores for name in (before, after)}
    rows = [
        number
        for number in range(len(samples))
        if scores[before][number].value is not None and scores[after][number].value is not None
    ]
    values = {name: [scores[name][number].value or 0.0 for number in rows] for name in (before, after)}
    sides: dict[str, dict[str, Measure]] = {}
    for name in (before, after):
        known = verified(measures(benchmark.module, facts[name]), benchmark.answers[name].result.metrics)
        kept = measures(benchmark.module, [facts[name][number] for number in rows])
        sides[name] = {metric: kept[metric] for metric in known if metric in kept}
    groups = {("", ""): [True] * len(rows)}
    for key in dict.fromkeys(samples[number].group for number in rows):
        if key[0]:
            groups[key] = [samples[number].group == key for number in rows]
    for name in (before, after):
        sides[name] |= {f"{kind}/{group}": _within(values[name], held) for (kind, group), held in groups.items()}
    differences = _differences(sides[before], sides[after])
    return Comparison(
        benchmark.title,
        before,
        after,
        num_rows=len(rows),
        num_left_out=len(samples) - len(rows),
        metrics={metric: found for metric, found in differences.items() if "/" not in metric},
        groups=[
            _group(key, held, values[before], values[after], differences[f"{key[0]}/{key[1]}"])
            for key, held in groups.items()
            if any(held)
        ],
        flips=[
            Flip(
                samples[number].id,
                "win" if values[after][place] > values[before][place] else "loss",
                scores[before][number].label,
                scores[after][number].label,
            )
            for place, number in enumerate(rows)
            if values[after][place] != values[before][place]
        ],
        label_changes=_label_changes(scores[before], scores[after]),
    )


def _label_changes(before: Sequence[Score], after: Sequence[Score]) -> list[LabelChange]:
    """The most frequent first."""
    changes = Counter((a.label, b.label) for a, b in zip(before, after, strict=True) if a.label != b.label)
    return [LabelChange(a, b, count) for (a, b), count in changes.most_common()]


def _within(values: Sequence[float], held: Sequence[bool]) -> Ratio:
    return Ratio(
        [value if inside else 0.0 for value, inside in zip(values, held, strict=True)],
        [float(inside) for inside in held],
    )


def _differences(before: Mapping[str, Measure], after: Mapping[str, Measure]) -> dict[str, Difference]:
    found = paired_intervals(before, after, _SEED)
    differences = {}
    for metric, interval in found.items():
        first, second = value_of(before[metric]), value_of(after[metric])
        if first is not None and second is not None:
            interval = _of_few_flips(before[metric], after[metric]) or interval
            num_rows = len(_rows_of(before[metric]))
            differences[metric] = Difference(first, second, second - first, interval, num_rows)
    return differences


def _rows_of(measure: Measure) -> set[int]:
    """The places of the rows that a metric is about."""
    if isinstance(measure, Ratio):
        return {place for place, weight in enumerate(measure.denominators) if weight}
    return set[int]().union(*map(_rows_of, measure.parts))


def _of_few_flips(before: Measure, after: Measure) -> Interval | None:
    """Tango's interval where two shares over the same rows differ in fewer than ten of them."""
    if not (_is_share(before) and _is_share(after)) or before.denominators != after.denominators:
        return None
    changes = [b - a for a, b in zip(before.numerators, after.numerators, strict=True)]
    wins, losses = changes.count(1.0), changes.count(-1.0)
    return tango_interval(wins, losses, int(sum(before.denominators))) if wins + losses < _FEWEST_FLIPS else None


def _group(
    key: tuple[str, str],
    held: Sequence[bool],
    before: Sequence[float],
    after: Sequence[float],
    accuracy: Difference,
) -> Group:
    pairs = [(a, b) for a, b, inside in zip(before, after, held, strict=True) if inside]
    wins, losses = sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)
    return Group(*key, len(pairs), wins, losses, accuracy, mcnemar(losses, wins), mcnemar_mid_p(losses, wins))


def _wilson(measure: Measure) -> Interval | None:
    if not _is_share(measure):
        return None
    return wilson_interval(int(sum(measure.numerators)), int(sum(measure.denominators)))


def _is_share(measure: Measure) -> TypeGuard[Ratio]:
    """Whether a metric is a ratio over rows that are either in it or not."""
    return isinstance(measure, Ratio) and {*measure.numerators, *measure.denominators} <= {0.0, 1.0}
