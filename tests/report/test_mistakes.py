"""Where calls differ from the expected one."""

from pathlib import Path

import pytest
from planted_run import plant_run, run_file

from calltune.config.run_file import load_config
from calltune.evaluation.jobs import open_benchmarks
from calltune.report.mistakes import count_mistakes, mistakes
from calltune.report.results import checkpoints, read_results
from calltune.types import Behavior, Completion, Message, Sample, ToolCall

CALL = {"name": "book", "arguments": {"city": "Rome", "nights": 2}}


def asked(behavior: Behavior = "tool_call") -> Sample:
    target = {"behavior": behavior, "call": CALL if behavior == "tool_call" else None}
    return Sample("q", "b", (Message("user", "?"),), (), target, behavior=behavior)


def made(*calls: tuple[str, dict]) -> Completion:
    return Completion("q", Message("assistant", "", tuple(ToolCall(*call) for call in calls)), "", "ok")


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([("book", {"nights": 2, "city": "Rome"})], []),
        ([], [("", "missed", "book", None)]),
        ([("cancel", {"city": "Rome"})], [("", "wrong tool", "book", "cancel")]),
        ([("book", {"city": "Paris", "nights": 2})], [("city", "wrong value", "Rome", "Paris")]),
        (
            [("book", {"city": "Rome", "floor": 3})],
            [("nights", "missing", 2, None), ("floor", "extra", None, 3)],
        ),
        ([("cancel", {}), ("book", CALL["arguments"])], [("", "extra", None, "cancel")]),
    ],
)
def test_each_argument_by_itself(calls: list, expected: list) -> None:
    found = mistakes(asked(), made(*calls))
    assert found is not None
    assert [(m.argument, m.kind, m.expected, m.given) for m in found] == expected


def test_where_no_call_is_due_every_call_is_needless() -> None:
    assert mistakes(asked("direct"), made()) == ()
    (found,) = mistakes(asked("direct"), made(("book", {}))) or ()
    assert (found.kind, found.given) == ("needless", "book")


def test_of_an_answer_that_cannot_be_read_nothing_is_told() -> None:
    assert mistakes(asked(), Completion("q", None, "{", "malformed")) is None


def test_those_that_are_counted_and_the_exact_calls_are_all_that_were_read(tmp_path: Path) -> None:
    config = load_config(run_file(plant_run(tmp_path / "toy", 80)))
    ranked, free = read_results(open_benchmarks(config), checkpoints(config))
    assert count_mistakes(ranked) == {}
    for name, found in count_mistakes(free).items():
        assert (found.num_due, found.num_undue) == (20, 60)
        table = free.answers[name].result.confusion["by_behavior"]
        calls = [row[table["labels"].index("tool_call")] for row in table["counts"]]
        due = table["labels"].index("tool_call")
        assert found.counts["needless"] == sum(calls) - calls[due]
        assert found.counts["missed"] + calls[due] + table["counts"][due][4] + table["counts"][due][5] == 20
