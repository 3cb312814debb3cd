"""What a report says first: a verdict, three figures before and after, and one sentence in plain words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from calltune.evaluation.statistics import tango_interval
from calltune.report.comparison import Comparison, Difference
from calltune.report.habits import Habits, habit_of_class
from calltune.report.headline import points
from calltune.report.resampling import Interval
from calltune.report.results import Measured
from calltune.report.ruling import Ruling
from calltune.report.tiles import BROKEN, Denominators, Tile, make_tiles, sentence

Word = Literal["Ship", "Do not ship", "Too few questions", "No verdict"]
TOO_WIDE = 0.10
DEFAULT = (
    "Without a gate in the run file: ship when a benchmark's own figure is better beyond its 95 % interval, none is "
    "worse, and broken calls have not become more."
)


@dataclass(frozen=True, slots=True)
class Power:
    """What can be seen on a benchmark: a difference of less than `smallest`, a share, is lost among chance."""

    benchmark: str
    num_rows: int
    smallest: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on `after` against `before`, what decided it, and what stands beside it at a report's top."""

    word: Word
    before: str
    after: str
    decided_by: Literal["gate", "default"]
    reason: str
    sentence: str
    tiles: Sequence[Tile]
    power: Sequence[Power]
    notes: Sequence[str]


def give_verdict(
    benchmarks: Sequence[Measured],
    comparisons: Sequence[Comparison],
    rulings: Sequence[Ruling],
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    denominators: Denominators,
    habits: Mapping[str, Habits],
    first: str,
    last: str,
    gated: Sequence[str],
) -> Verdict:
    """The verdict on the checkpoint `last`, compared with `first`.

    Args:
        benchmarks: all that were measured.
        comparisons: all that were made.
        rulings: what became of the gate's rules; without any the default decides.
        intervals: each checkpoint's own, by benchmark, checkpoint and metric.
        denominators: how many rows each metric is about.
        habits: by benchmark.
        first: the base, or the earliest checkpoint that was measured.
        last: the checkpoint that is judged.
        gated: the benchmarks that the gate's rules name.
    """
    pairs = {c.benchmark: c for c in comparisons if (c.before, c.after) == (first, last)}
    measured = [benchmark for benchmark in benchmarks if last in benchmark.answers]
    power = [_power(benchmark, pairs.get(benchmark.title), last) for benchmark in measured]
    tiles = make_tiles(measured, pairs, intervals, denominators, first, last)
    word, reason = _decide(measured, pairs, rulings, tiles, power, first, last, gated)
    return Verdict(
        word,
        first,
        last,
        "gate" if rulings else "default",
        reason,
        sentence(tiles, first, last),
        tiles,
        power,
        [*_habit_notes(measured, habits, first), *_baseline_notes(measured, last)],
    )


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


def _decide(
    benchmarks: Sequence[Measured],
    pairs: Mapping[str, Comparison],
    rulings: Sequence[Ruling],
    tiles: Sequence[Tile],
    power: Sequence[Power],
    first: str,
    last: str,
    gated: Sequence[str],
) -> tuple[Word, str]:
    small = [each for each in power if narrowest(each.num_rows) > TOO_WIDE]
    broken = [ruling.rule for ruling in rulings if not ruling.passed]
    gate = (
        f"{last} breaks {len(broken)} of {len(rulings)} rules of the gate" if broken else "every rule of the gate holds"
    )
    too_few = [each for each in small if each.benchmark in gated] if rulings else small
    if too_few and (rulings or len(small) == len(power)):
        return "Too few questions", _limits(too_few) + (f" As far as that goes, {gate}." if rulings else "")
    if rulings:
        return ("Do not ship", f"{gate}: {'; '.join(broken)}.") if broken else ("Ship", f"{gate[0].upper()}{gate[1:]}.")
    if first == last:
        return "No verdict", f"Only {last} was measured, so there is nothing to compare it with."
    enough = {each.benchmark: each for each in power if each not in small}
    changes: dict[str, list[str]] = {"better": [], "worse": [], "uncertain": []}
    for benchmark in benchmarks:
        primary = benchmark.answers[last].result.primary_metric
        if benchmark.title in pairs and benchmark.title in enough and primary in pairs[benchmark.title].metrics:
            found, metric = pairs[benchmark.title].metrics[primary], benchmark.metric(primary)
            changes[found.direction(less_is_better=metric.less_is_better)].append(_change(benchmark.title, found))
    if not any(changes.values()):
        return "No verdict", f"{last} and {first} could not be compared question by question."
    changes["worse"] += [_change(t.name, t.difference) for t in tiles if t.name == BROKEN and _is_worse(t, enough)]
    if changes["worse"]:
        return "Do not ship", f"Worse beyond chance: {'; '.join(changes['worse'])}."
    if changes["better"]:
        return "Ship", f"Better beyond chance: {'; '.join(changes['better'])}. Nothing that decides is worse."
    if min(each.smallest for each in enough.values()) > TOO_WIDE:
        return "Too few questions", _limits(list(enough.values()))
    return "Do not ship", f"No gain beyond chance: {'; '.join(changes['uncertain'])}."


def _is_worse(tile: Tile, enough: Mapping[str, Power]) -> bool:
    return tile.direction == "worse" and tile.benchmark in enough


def _change(name: str, found: Difference | None) -> str:
    return f"{name} {points(found)}" if found else name


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


def _habit_notes(benchmarks: Sequence[Measured], habits: Mapping[str, Habits], first: str) -> list[str]:
    """What a checkpoint that always gives the same answer owes to that, of the first free benchmark that shows it."""
    for benchmark in sorted(benchmarks, key=lambda benchmark: benchmark.module.scoring_request is not None):
        for label in dict.fromkeys(habit.label for habit in habits[benchmark.title].get(first, {}).values()):
            habit = habit_of_class(label, habits[benchmark.title][first])
            if habit:
                does = "calls a tool" if label == "tool_call" else f"answers '{label}'"
                return [
                    f"{first} {does} in {habit.count:,} of {habit.total:,} questions of {benchmark.title}, whatever "
                    f"is asked. So it can hardly miss where {label} is right: its recall there is a habit, no skill, "
                    "and a lower one after training is no loss by itself."
                ]
    return []


def _baseline_notes(benchmarks: Sequence[Measured], last: str) -> list[str]:
    """Rules without a model that reach more than the model does."""
    notes = []
    for benchmark in benchmarks:
        result = benchmark.answers[last].result
        reached = result.metrics.get(result.primary_metric)
        for name, value in result.metrics.items():
            rule = benchmark.metric(name).baseline
            if rule and value is not None and reached is not None and value > reached:
                notes.append(
                    f"On {benchmark.title} a rule without any model ({rule}) is right in {100 * value:.1f} %, more "
                    f"than {last} with {100 * reached:.1f} %: that figure says little of the model yet."
                )
    return notes
