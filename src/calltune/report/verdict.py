"""What a report says first: a verdict, three figures before and after, and one sentence in plain words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from calltune.report.decision import Measurements, Power, Word, decide, weigh
from calltune.report.habits import Habits, habit_of_class
from calltune.report.results import Measured
from calltune.report.ruling import Ruling
from calltune.report.tiles import Tile, sentence

DEFAULT = (
    "Without a gate in the run file: ship when a benchmark's own figure is better beyond its 95 % interval, none is "
    "worse, and broken calls have not become more."
)
EARLIER = (
    "A checkpoint is not shipped when one of these figures is worse, beyond its 95 % interval, than that of an earlier "
    "checkpoint of the run which could be shipped itself."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on `after` against `before`, what decided it, and what stands beside it at a report's top.

    `better` names the earlier checkpoint of the run that is to be shipped in place of `after`; it is empty where there
    is none. `title` is the verdict as a person reads it: `word`, or which checkpoint to ship and which not.
    """

    word: Word
    title: str
    better: str
    before: str
    after: str
    decided_by: Literal["gate", "default", "earlier"]
    reason: str
    sentence: str
    tiles: Sequence[Tile]
    power: Sequence[Power]
    notes: Sequence[str]


def give_verdict(
    measured: Measurements,
    rule_on: Callable[[str], Sequence[Ruling]],
    habits: Mapping[str, Habits],
    own: Sequence[str],
    gated: Sequence[str],
) -> Verdict:
    """The verdict on the last of the run's checkpoints that are given, compared with the first and with all between.

    Args:
        measured: all that was measured and compared.
        rule_on: what becomes of the gate's rules for a checkpoint; without any the default decides.
        habits: by benchmark.
        own: the base, or the earliest checkpoint that was measured, then those after it, up to the one that is judged.
        gated: the benchmarks that the gate's rules name.
    """
    first, last = own[0], own[-1]
    pair, rulings = measured.pair(first, last), rule_on(last)
    word, reason = decide(pair, rulings, gated)
    by: Literal["gate", "default", "earlier"] = "gate" if rulings else "default"
    earlier = _against_earlier(measured, rule_on, own, gated)
    if earlier.better or (earlier.reason and word == "Ship"):
        word, reason, by = "Do not ship", earlier.reason, "earlier"
    better = earlier.better
    said = sentence(pair.tiles, first, last)
    if better:
        said += f" {sentence(measured.pair(first, better).tiles, first, better)}"
    return Verdict(
        word,
        f"Ship {better}, not {last}" if better else word,
        better,
        first,
        last,
        by,
        reason,
        said,
        pair.tiles,
        pair.power,
        [
            *(earlier.notes if word == "Ship" else ()),
            *_habit_notes(pair.benchmarks, habits, first),
            *_baseline_notes(pair.benchmarks, last),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What the checkpoints between the first and the last say: which is better, why the last is not shipped, notes."""

    better: str
    reason: str
    notes: Sequence[str]


def _against_earlier(
    measured: Measurements, rule_on: Callable[[str], Sequence[Ruling]], own: Sequence[str], gated: Sequence[str]
) -> _Earlier:
    """Weigh the last checkpoint against each between it and the first.

    Only one that could be shipped itself stands against it. One that could not is no better choice, so a note tells it.
    """
    first, last = own[0], own[-1]
    better, better_reason, mixed, notes = "", "", list[str](), list[str]()
    for name in own[1:-1]:
        weighed = weigh(measured.pair(name, last))
        if not weighed.worse:
            continue
        worse = f"{last} is worse than {name} beyond chance: {'; '.join(weighed.worse)}"
        word, reason = decide(measured.pair(first, name), rule_on(name), gated)
        itself = f"{name} itself, compared with {first}: {reason[0].lower()}{reason[1:]}"
        if word != "Ship":
            notes.append(f"{worse}. But {name} is no better choice. {itself}")
            continue
        but = f" Better: {'; '.join(weighed.better)}" if weighed.better else ""
        if weighed.outcome == "mixed":
            mixed.append(
                f"{worse}.{but}. So neither is better in all that decides. To choose one: [export] checkpoint = "
                f'"{name}" or "{last}".'
            )
        elif not better or _is_after(measured, better, name):
            but += ", which counts less: there it writes no answer." if but else ""
            better = name
            better_reason = f'{worse}.{but} {itself} To export it: [export] checkpoint = "{name}".'
    return _Earlier(better, better_reason or " ".join(mixed), notes)


def _is_after(measured: Measurements, before: str, after: str) -> bool:
    """Whether the later of two checkpoints is the one to take."""
    weighed = weigh(measured.pair(before, after))
    return weighed.outcome == "better" or (weighed.outcome != "worse" and weighed.gain > 0)


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
