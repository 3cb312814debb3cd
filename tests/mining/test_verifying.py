"""What is right, what is wrong and how, and what cannot be decided."""

from typing import Any

import pytest
from toy_calls import BOOK, SEND, WEATHER, call, tool, user

from calltune.mining.questions import Question
from calltune.mining.verifying import gold_problem, verify
from calltune.types import Behavior, Completion, Message, Sample, Tool

TOOLS = (BOOK, WEATHER, SEND)
ASKS, REFUSES = "Which city should it be in?", "I'm sorry, I can't do that."


def question(gold: Message, behavior: Behavior = "tool_call", tools: tuple[Tool, ...] = TOOLS) -> Question:
    return Question(Sample("q", "mine", (user("Please."),), tools, behavior), gold, behavior)


def said(message: Message | str, status: Any = "ok") -> Completion:
    if isinstance(message, str):
        message = Message("assistant", message)
    return Completion("q", message if status == "ok" else None, message.content, status, reason="why")


def verdict(gold: Message, answer: Message | str, behavior: Behavior = "tool_call", **options: Any) -> str:
    found = verify(question(gold, behavior, **options), said(answer))
    assert (found.outcome == "wrong") == (found.error is not None)
    return found.error or found.outcome


BOOKED = call("book_table", city="Paris", people=2)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (BOOKED, "right"),
        (call("book_table", people=2, city="paris"), "right"),
        (call("get_weather", city="Paris"), "wrong_tool"),
        (call("book_hotel", city="Paris", people=2), "invented_tool"),
        (call("book_table", city="Paris"), "missing_argument"),
        (call("book_table", city="Paris", people=2, outside=True), "extra_argument"),
        (call("book_table", city="Rome", people=2), "wrong_value"),
        (call("book_table", city="Paris", people="2"), "wrong_type"),
        (Message("assistant", "", BOOKED.tool_calls * 2), "wrong_count"),
        (ASKS, "missed_call"),
    ],
)
def test_an_answer_where_a_call_is_right(answer: Message | str, expected: str) -> None:
    assert verdict(BOOKED, answer) == expected


@pytest.mark.parametrize(
    ("behavior", "answer", "expected"),
    [
        ("request_for_info", ASKS, "right"),
        ("request_for_info", REFUSES, "wrong_behavior"),
        ("request_for_info", BOOKED, "needless_call"),
        ("request_for_info", "I can't see the city. Which city should it be in?", "undecided"),
        ("cannot_answer", REFUSES, "right"),
        ("cannot_answer", ASKS, "wrong_behavior"),
        ("cannot_answer", "Done, your table is booked.", "wrong_behavior"),
        ("direct", "Paris is the capital of France.", "right"),
        ("direct", "", "undecided"),
        ("direct", BOOKED, "needless_call"),
    ],
)
def test_an_answer_where_a_text_is_right(behavior: Behavior, answer: Message | str, expected: str) -> None:
    gold: dict[str, str] = {"request_for_info": ASKS, "cannot_answer": REFUSES, "direct": "Yes, it is."}
    assert verdict(Message("assistant", gold[behavior]), answer, behavior) == expected


def test_what_was_not_read() -> None:
    asked = question(BOOKED)
    assert verify(asked, said("<tool_call>", "malformed")).error == "malformed"
    assert verify(asked, said("<tool_call>", "truncated")).error == "truncated"
    assert verify(asked, said("", "error")).outcome == "undecided"
    assert verify(asked, said("", "malformed")).error == "missed_call"
    assert verify(question(Message("assistant", "Yes."), "direct"), said("", "malformed")).outcome == "undecided"


def test_the_tool_s_schema_is_stricter_than_bfcl() -> None:
    gold = call("send_mail", person="Ann")
    assert verdict(gold, gold) == "right"
    assert verdict(gold, call("send_mail", person="ann")) == "wrong_value"
    broken = tool("send_mail", "Send.", ("person",), person={"type": "strung"})
    assert verdict(gold, gold, tools=(broken,)) == "undecided"


def test_a_default_may_be_given_or_left_out() -> None:
    lamp = tool("lamp", "Light.", ("room",), room="string", level={"type": "integer", "default": 5})
    short, long = call("lamp", room="hall"), call("lamp", room="hall", level=5)
    for gold in (short, long):
        assert verdict(gold, short, tools=(lamp,)) == verdict(gold, long, tools=(lamp,)) == "right"
        assert verdict(gold, call("lamp", room="hall", level=6), tools=(lamp,)) == "wrong_value"
    other = call("lamp", room="hall", level=6)
    assert verdict(other, short, tools=(lamp,)) == "missing_argument"


@pytest.mark.parametrize(
    ("schema", "gold", "wrong"),
    [
        ({"type": "number"}, 5, "5"),
        ({"type": "number"}, 2.5, 2.0),
        ({"type": "boolean"}, True, False),
        ({"type": "array", "items": {"type": "integer"}}, [1, 2], [2, 1]),
        ({"type": "array"}, [1, "a"], [1, "b"]),
        ({"type": "array", "items": {"type": "object"}}, [{"a": 1}], [{"a": 2}]),
        ({"type": "object"}, {"a": {"b": [1]}}, {"a": {"b": [2]}}),
        ({}, "x", "y"),
    ],
)
def test_values_of_every_type(schema: dict[str, Any], gold: Any, wrong: Any) -> None:
    taker = tool("take", "Take.", ("value",), value=schema)
    known = call("take", value=gold)
    assert verdict(known, known, tools=(taker,)) == "right"
    assert verdict(known, call("take", value=wrong), tools=(taker,)) in ("wrong_value", "wrong_type")
    assert gold_problem(question(known, tools=(taker,))) == ""


def test_a_whole_number_may_stand_for_a_fraction() -> None:
    taker = tool("take", "Take.", ("value",), value={"type": "number"})
    assert verdict(call("take", value=5), call("take", value=5.0), tools=(taker,)) == "right"
    assert verdict(call("take", value=5.0), call("take", value=5), tools=(taker,)) == "right"


def test_a_question_whose_known_answer_is_not_found_right_decides_nothing() -> None:
    taker = tool("take", "Take.", (), value={"type": ["string", "null"]})
    assert "cannot be compared" in gold_problem(question(call("take", value=None), tools=(taker,)))
    assert "cannot be compared" in gold_problem(question(call("take", value="x"), tools=()))
    assert gold_problem(question(call("book_table", city="Paris"))) == "'book_table' needs 'people'"
    assert "expected" in gold_problem(question(Message("assistant", REFUSES), "direct"))
    assert gold_problem(question(Message("assistant", ASKS), "tool_call"))
