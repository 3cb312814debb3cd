"""Checkpoints that always say the same."""

from types import SimpleNamespace
from typing import Any

from calltune.report.habits import Habit, habit_of_class, habit_of_metric, habits


def measured(**tables: list[list[int]]) -> Any:
    confusion = {name: {"labels": ["direct", "tool_call"], "counts": counts} for name, counts in tables.items()}
    return SimpleNamespace(answers={"base": SimpleNamespace(result=SimpleNamespace(confusion=confusion))})


def test_nine_of_ten_are_a_habit() -> None:
    assert habits(measured(by=[[1, 4], [0, 5]])) == {"base": {"by": Habit("tool_call", 9, 10)}}
    assert habits(measured(by=[[2, 3], [0, 5]])) == {}


def test_one_class_alone_makes_no_habit_nor_does_nothing() -> None:
    assert habits(measured(by=[[0, 0], [0, 5]])) == {}
    assert habits(measured(by=[[0, 0], [0, 0]])) == {}


def test_a_recall_knows_the_table_that_it_is_of() -> None:
    found = {"by_norm": Habit("tool_call", 9, 10), "by": Habit("direct", 10, 10)}
    assert habit_of_metric("recall_tool_call_norm", found) == found["by_norm"]
    assert habit_of_metric("recall_direct", found) == found["by"]
    assert habit_of_metric("recall_tool_call", found) is None
    assert habit_of_metric("acc_norm", found) is None
    assert habit_of_class("tool_call", found) == found["by_norm"]
