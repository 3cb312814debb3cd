"""Whether a checkpoint may be shipped, by what it is compared with: the base, or an earlier checkpoint of its run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from calltune.evaluation.benchmarks import is_free
from calltune.evaluation.statistics import tango_interval
from calltune.report.comparison import Comparison, Difference
from calltune.report.headline import points
from calltune.report.resampling import Interval
from calltune.report.results import Measured
from calltune.report.ruling import Ruling
from calltune.report.tiles import BROKEN, Denominators, Tile, make_tiles

Word = Literal["Ship", "Do not ship", "Too few questions", "No verdict"]
Direction = Literal["better", "worse", "uncertain"]
TOO_WIDE = 0.10


@dataclass(frozen=True, slots=True)
class Power:
    """What can be seen on a benchmark: a difference of less than `smallest`, a share, is lost among chance."""

    benchmark: str
    num_rows: int
    smallest: float


@dataclass(frozen=True, slots=True)
class Measurements:
    """All that was measured and compared; `intervals` are by benchmark, checkpoint and metric."""

    benchmarks: Sequence[Measured]
    comparisons: Sequence[Comparison]
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]]
    denominators: Denominators

    def pair(self, before: str, after: str) -> "Pair":
        """Two checkpoints side by side, on every benchmark that `after` was measured on."""
        found = {c.benchmark: c for c in self.comparisons if (c.before, c.after) == (before, after)}
        measured = [benchmark for benchmark in self.benchmarks if after in benchmark.answers]
        tiles = make_tiles(measured, found, self.intervals, self.denominators, before, after)
        power = [_power(benchmark, found.get(benchmark.title), after) for benchmark in measured]
        return Pair(before, after, measured, found, tiles, power)


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that decides: which way it went beyond its interval, by how much (a share; above 0 is better).

    `written` says that the model writes the answers freely, which counts before what it chooses or would decide.
    """

    direction: Direction
    text: str
    gain: float
    written: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Two checkpoints side by side; `comparisons` are by benchmark."""

    before: str
    after: str
    benchmarks: Sequence[Measured]
    comparisons: Mapping[str, Comparison]
    tiles: Sequence[Tile]
    power: Sequence[Power]

    @property
    def small(self) -> list[Power]:
        """The benchmarks of too few questions, on which nothing is decided."""
        return [each for each in self.power if narrowest(each.num_rows) > TOO_WIDE]

    def own_changes(self) -> list[Change]:
        """What became of each benchmark's own figure, where there are questions enough."""
        small, found = {each.benchmark for each in self.small}, list[Change]()
        for benchmark in self.benchmarks:
            primary = benchmark.answers[self.after].result.primary_metric
            compared = self.comparisons.get(benchmark.title)
            if compared and benchmark.title not in small and primary in compared.metrics:
                difference, metric = compared.metrics[primary], benchmark.metric(primary)
                direction = difference.direction(less_is_better=metric.less_is_better)
                gain = -difference.difference if metric.less_is_better else difference.difference
                written = is_free(benchmark.module)
                found.append(Change(direction, _told(benchmark.title, difference), gain, written))
        return found

    def broken_calls(self) -> list[Change]:
        """The share of broken calls, where it became larger beyond its interval."""
        small = {each.benchmark for each in self.small}
        return [
            Change("worse", _told(tile.name, tile.difference), -tile.difference.difference, written=True)
            for tile in self.tiles
            if tile.name == BROKEN and tile.direction == "worse" and tile.difference and tile.benchmark not in small
        ]


@dataclass(frozen=True, slots=True)
class Weighed:
    """A checkpoint against an earlier one. `better` and `worse` name what changed beyond chance.

    `outcome` is `mixed` where both did, unless what is worse is written and what is better is only chosen. `gain` is
    that of the figure that counts first, 0 where there is none.
    """

    outcome: Literal["better", "worse", "mixed", "uncertain"]
    better: Sequence[str]
    worse: Sequence[str]
    gain: float


def weigh(pair: Pair) -> Weighed:
    """What the later checkpoint is against the earlier one, by the figures that decide."""
    changes = sorted([*pair.own_changes(), *pair.broken_calls()], key=lambda change: not change.written)
    better, worse = ([c for c in changes if c.direction == side] for side in ("better", "worse"))
    outcome: Literal["better", "worse", "mixed", "uncertain"] = "uncertain"
    if worse:
        only_chosen = any(c.written for c in worse) and not any(c.written for c in better)
        outcome = "worse" if not better or only_chosen else "mixed"
    elif better:
        outcome = "better"
    gain = changes[0].gain if changes else 0.0
    return Weighed(outcome, [c.text for c in better], [c.text for c in worse], gain)


def decide(pair: Pair, rulings: Sequence[Ruling], gated: Sequence[str]) -> tuple[Word, str]:
    """The word on the later checkpoint against the first one, and why.

    Args:
        rulings: what became of the gate's rules; without any the default decides.
        gated: the benchmarks that the gate's rules name.
    """
    first, last = pair.before, pair.after
    broken = [ruling.rule for ruling in rulings if not ruling.passed]
    gate = (
        f"{last} breaks {len(broken)} of {len(rulings)} rules of the gate" if broken else "every rule of the gate holds"
    )
    small = pair.small
    too_few = [each for each in small if each.benchmark in gated] if rulings else small
    if too_few and (rulings or len(small) == len(pair.power)):
        return "Too few questions", _limits(too_few) + (f" As far as that goes, {gate}." if rulings else "")
    if rulings:
        return ("Do not ship", f"{gate}: {'; '.join(broken)}.") if broken else ("Ship", f"{gate[0].upper()}{gate[1:]}.")
    if first == last:
        return "No verdict", f"Only {last} was measured, so there is nothing to compare it with."
    own, broken_calls = pair.own_changes(), pair.broken_calls()
    told = {side: [c.text for c in own if c.direction == side] for side in ("better", "worse", "uncertain")}
    told["worse"] += [change.text for change in broken_calls]
    if not own:
        return "No verdict", f"{last} and {first} could not be compared question by question."
    if told["worse"]:
        return "Do not ship", f"Worse beyond chance: {'; '.join(told['worse'])}."
    if told["better"]:
        return "Ship", f"Better beyond chance: {'; '.join(told['better'])}. Nothing that decides is worse."
    enough = [each for each in pair.power if each not in small]
    if min(each.smallest for each in enough) > TOO_WIDE:
        return "Too few questions", _limits(enough)
    return "Do not ship", f"No gain beyond chance: {'; '.join(told['uncertain'])}."


def narrowest(num_rows: int) -> float:
    """How far the paired interval of a share reaches to each side when not a single answer differs; a share."""
    return tango_interval(0, 0, num_rows)[1]


def _power(benchmark: Measured, pair: Comparison | None, last: str) -> Power:
    result = benchmark.answers[last].result
    num_rows = pair.num_rows if pair else result.num_samples - result.num_errors
    reach = narrowest(num_rows)
    if pair and result.primary_metric in pair.metrics:
        low, high = pair.metrics[result.primary_metric].interval
        reach = max(reach, (high - low) / 2)
    return Power(benchmark.title, num_rows, reach)


def _told(name: str, difference: Difference) -> str:
    return f"{name} {points(difference)}"


def _limits(power: Sequence[Power]) -> str:
    """What can be seen with so many questions, in words."""
    if not any(each.num_rows for each in power):
        return "Not one question was scored."
    told = [
        f"{each.num_rows:,} question{'s' * (each.num_rows != 1)} of {each.benchmark}: only differences above "
        f"{ceil(100 * each.smallest)} points can be seen"
        for each in power
    ]
    return f"{'; '.join(told)}."
