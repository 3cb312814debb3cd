"""Three figures that anyone understands, before and after: right decisions, exact calls, broken calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from calltune.report.comparison import Comparison, Difference
from calltune.report.finite import is_finite
from calltune.report.headline import listed
from calltune.report.resampling import Interval
from calltune.report.results import Measured

TILES = ("right decision", "exact calls", "broken calls")
BROKEN = TILES[2]
_COUNTED = 100
"""Of so many questions at most a sentence tells how many; of more, the percentage."""
Denominators = Mapping[str, Mapping[str, Mapping[str, int]]]
"""By benchmark, checkpoint and metric how many rows the metric is about."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure, a share, before and after; `interval` is that of `after`, `num_rows` the denominator.

    `direction` is empty where there is nothing to compare.
    """

    name: str
    benchmark: str
    metric: str
    num_rows: int | None
    before: float | None
    after: float | None
    interval: Interval | None
    difference: Difference | None
    direction: Literal["better", "worse", "uncertain", ""]


def make_tiles(
    benchmarks: Sequence[Measured],
    pairs: Mapping[str, Comparison],
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    denominators: Denominators,
    first: str,
    last: str,
) -> list[Tile]:
    """The three figures. What a model writes freely goes before what it chooses, and the first benchmark first."""
    ordered = sorted(benchmarks, key=lambda benchmark: benchmark.module.scoring_request is not None)
    found = []
    for name in TILES:
        stated = [(b, m) for b in ordered for m in b.answers[last].result.metrics if b.metric(m).tile == name]
        if name == TILES[0] and not stated:
            # A benchmark of one's own may say nothing of tiles; its own figure is what there is.
            silent = [b for b in ordered if not any(metric.tile for metric in b.module.METRICS.values())]
            stated = [(b, b.answers[last].result.primary_metric) for b in silent]
        if stated:
            benchmark, metric = stated[0]
            own = intervals[benchmark.title][last].get(metric)
            num_rows = denominators[benchmark.title].get(last, {}).get(metric)
            found.append(_tile(benchmark, metric, pairs.get(benchmark.title), own, num_rows, first, last))
    return found


def _tile(
    benchmark: Measured,
    metric: str,
    pair: Comparison | None,
    own: Interval | None,
    num_rows: int | None,
    first: str,
    last: str,
) -> Tile:
    stated = benchmark.metric(metric)
    shown = stated.tile or stated.meaning or metric
    difference = pair.metrics.get(metric) if pair else None
    if difference:
        direction = difference.direction(less_is_better=stated.less_is_better)
        before, after, num_rows = difference.before, difference.after, difference.num_rows
        return Tile(shown, benchmark.title, metric, num_rows, before, after, own, difference, direction)
    comparable = first != last and not {first, last} & benchmark.unpaired.keys()
    values = {name: answers.result.metrics.get(metric) for name, answers in benchmark.answers.items()}
    # Files of older versions may hold what is no number.
    finite = {name: value for name, value in values.items() if is_finite(value)}
    before = finite.get(first) if comparable else None
    return Tile(shown, benchmark.title, metric, num_rows, before, finite.get(last), own, None, "")


def sentence(tiles: Sequence[Tile], first: str, last: str) -> str:
    """What the tiles say, as one would tell it."""
    told = [_told(tile, first, last) for tile in tiles if tile.after is not None]
    if not told:
        return f"Nothing can be said of {last} yet: no question was scored."
    return f"{last} {listed(told)}."


def _told(tile: Tile, first: str, last: str) -> str:
    verbs = {
        "right decision": ("decides rightly in", "questions"),
        "exact calls": ("makes", "due calls exactly as expected"),
        "broken calls": ("breaks the call in", "answers"),
    }
    verb, noun = verbs.get(tile.name, (f"reaches ({tile.name})", "questions"))
    counts = tile.num_rows is not None and 0 < tile.num_rows <= _COUNTED
    asked = f"{tile.num_rows:,} {noun}" if tile.num_rows else f"the {noun}"

    def share(value: float) -> str:
        return f"{round(value * (tile.num_rows or 0))}" if counts else _percent(value)

    after = f"{verb} {share(tile.after or 0.0)} of {asked}"
    if tile.before is None:
        return after
    change = {"uncertain": ", which may be chance", "worse": ", so that is worse"}.get(tile.direction, "")
    change = ", the same" if tile.before == tile.after else change
    return f"{after} ({first}: {share(tile.before)}{change})"


def _percent(share: float) -> str:
    return "under 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"
