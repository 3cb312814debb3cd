"""Checkpoints that give one and the same answer to nearly every question: what looks like recall there is a habit."""

from collections.abc import Mapping
from dataclasses import dataclass

from calltune.report.results import Measured

_NEARLY_ALL = 0.9
_RECALLS = ("recall_", "accuracy_")


@dataclass(frozen=True, slots=True)
class Habit:
    """One label that a checkpoint gives to `count` of `total` questions, in one of its confusion tables."""

    label: str
    count: int
    total: int


Habits = Mapping[str, Mapping[str, Habit]]
"""By checkpoint and confusion table."""


def habits(benchmark: Measured) -> dict[str, dict[str, Habit]]:
    """By checkpoint and confusion table the label that it gives to nine of ten questions or more.

    Where only one label is right for all questions, giving it always is no habit but the right thing.
    """
    found: dict[str, dict[str, Habit]] = {}
    for name, answers in benchmark.answers.items():
        for table, confusion in answers.result.confusion.items():
            given = [sum(column) for column in zip(*confusion["counts"], strict=True)]
            num_asked, total = sum(any(row) for row in confusion["counts"]), sum(given)
            if num_asked > 1 and max(given) >= _NEARLY_ALL * total:
                place = given.index(max(given))
                found.setdefault(name, {})[table] = Habit(confusion["labels"][place], given[place], total)
    return found


def habit_of_metric(metric: str, of_checkpoint: Mapping[str, Habit]) -> Habit | None:
    """The habit that makes a metric high without any skill, if the metric is the recall of its label."""
    bare = metric.removesuffix("_norm")
    for table, habit in of_checkpoint.items():
        same_table = table.endswith("_norm") == metric.endswith("_norm")
        if same_table and any(bare == f"{recall}{habit.label}" for recall in _RECALLS):
            return habit
    return None


def habit_of_class(label: str, of_checkpoint: Mapping[str, Habit]) -> Habit | None:
    """The habit that makes the accuracy of a class high; a table by likelihood per character goes before the other."""
    ordered = sorted(of_checkpoint.items(), key=lambda item: not item[0].endswith("_norm"))
    return next((habit for _, habit in ordered if habit.label == label), None)
