"""Bootstrap intervals of metrics and of their paired differences, vectorised over resamples.

A metric is written as what it is: a ratio of two sums over rows, or a mean of such ratios (macro-F1, a mean over
categories). Rows that contribute alike are one kind, and a resample of n rows is a multinomial draw over the kinds:
the same distribution as drawing rows one by one, in a fraction of the time. In a paired difference both metrics are
taken over the same resample, so what the rows have in common cancels. Percentile intervals (Efron 1979), as
`scipy.stats.bootstrap(paired=True, method="percentile")` gives them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Interval = tuple[float, float]
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Ratio:
    """The sum of `numerators` over the sum of `denominators`, one of each per row; nothing where the latter is 0."""

    numerators: Sequence[float]
    denominators: Sequence[float]


@dataclass(frozen=True, slots=True)
class MeanOf:
    """The mean of those parts that are not nothing."""

    parts: tuple["Measure", ...]


Measure = Ratio | MeanOf


def value_of(measure: Measure) -> float | None:
    """The metric over all rows; None where there is nothing to divide by."""
    columns: dict[int, np.ndarray] = {}
    _collect(measure, columns)
    found = float(_evaluate(measure, {key: column.sum(axis=0, keepdims=True) for key, column in columns.items()})[0])
    return None if np.isnan(found) else found


def intervals(
    measures: Mapping[str, Measure], seed: int, num_resamples: int = 10_000, level: float = 0.95
) -> dict[str, Interval]:
    """The interval of every metric that has one; all are over the same rows and the same resamples."""
    drawn = _draw(measures.values(), seed, num_resamples)
    return _quantiles({name: drawn(measure) for name, measure in measures.items()}, level)


def paired_intervals(
    before: Mapping[str, Measure],
    after: Mapping[str, Measure],
    seed: int,
    num_resamples: int = 10_000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """The interval of `after - before` for every metric in both, each resample holding the same rows of both sides.

    A resample in which a side is undefined (it drew none of the rows that the metric is about) is left out of that
    metric's quantiles.
    """
    names = [name for name in before if name in after]
    drawn = _draw([side[name] for name in names for side in (before, after)], seed, num_resamples)
    return _quantiles({name: drawn(after[name]) - drawn(before[name]) for name in names}, level)


class _Resamples:
    """The sums of every column over every resample."""

    def __init__(self, sums: dict[int, np.ndarray]) -> None:
        self._sums = sums

    def __call__(self, measure: Measure) -> np.ndarray:
        return _evaluate(measure, self._sums)


def _draw(measures: Iterable[Measure], seed: int, num_resamples: int) -> _Resamples:
    columns: dict[int, np.ndarray] = {}
    for measure in measures:
        _collect(measure, columns)
    table = np.concatenate(list(columns.values()), axis=1) if columns else np.empty((0, 0))
    if not len(table):
        return _Resamples({key: np.zeros((1, 2)) for key in columns})
    kinds, counts = np.unique(table, axis=0, return_counts=True)
    sums = np.concatenate([part @ kinds for part in _multinomials(counts, seed, num_resamples)])
    return _Resamples({key: sums[:, 2 * place : 2 * place + 2] for place, key in enumerate(columns)})


def _multinomials(counts: np.ndarray, seed: int, num_resamples: int) -> Iterator[np.ndarray]:
    generator, total = np.random.default_rng(seed), int(counts.sum())
    at_once = max(1, _CELLS_AT_ONCE // len(counts))
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        yield generator.multinomial(total, counts / total, size=size).astype(float)


def _collect(measure: Measure, columns: dict[int, np.ndarray]) -> None:
    """Numerators and denominators of every ratio in a measure, by the ratio's identity."""
    if isinstance(measure, MeanOf):
        for part in measure.parts:
            _collect(part, columns)
    elif id(measure) not in columns:
        columns[id(measure)] = np.array([measure.numerators, measure.denominators], dtype=float).T


def _evaluate(measure: Measure, sums: Mapping[int, np.ndarray]) -> np.ndarray:
    if isinstance(measure, Ratio):
        above, below = sums[id(measure)][:, 0], sums[id(measure)][:, 1]
        return np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0)
    num_resamples = max(map(len, sums.values()), default=1)
    parts = np.array([_evaluate(part, sums) for part in measure.parts]).reshape(-1, num_resamples)
    there = ~np.isnan(parts)
    total, number = np.where(there, parts, 0.0).sum(axis=0), there.sum(axis=0)
    return np.divide(total, number, out=np.full(len(total), np.nan), where=number != 0)


def _quantiles(drawn: Mapping[str, np.ndarray], level: float) -> dict[str, Interval]:
    found = {}
    for name, values in drawn.items():
        values = values[~np.isnan(values)]
        if len(values):
            low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
            found[name] = (float(low), float(high))
    return found
