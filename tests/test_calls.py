import pytest

from calltune.calls import detect_format, parse_answer
from calltune.types import Message, ToolCall

ONE = '<tool_call>\n{"name": "t", "arguments": {"a": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ONE, Message("assistant", "", (ToolCall("t", {"a": 1}),))),
        (f"{ONE}\n{ONE}", Message("assistant", "", (ToolCall("t", {"a": 1}),) * 2)),
        (f"Wait. {ONE}", Message("assistant", "Wait.", (ToolCall("t", {"a": 1}),))),
        ('<tool_call>{"name": "t", "arguments": {}}</tool_call>', Message("assistant", "", (ToolCall("t", {}),))),
        (" Hello. ", Message("assistant", "Hello.")),
        ("", Message("assistant", "")),
    ],
)
def test_hermes(text: str, message: Message) -> None:
    assert parse_answer(text, "hermes").message == message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<tool_call>{}", "opened at character 0 is not closed"),
        ("x</tool_call>", "closed that was never opened"),
        ("ab<tool_call>{</tool_call>", "at character 2 is not JSON"),
        ("<tool_call>[]</tool_call>", "has no name"),
        ('<tool_call>{"name": 3, "arguments": {}}</tool_call>', "has no name"),
        ('<tool_call>{"name": "t"}</tool_call>', "has no object of arguments"),
        ('<tool_call>{"name": "t", "arguments": "x"}</tool_call>', "has no object of arguments"),
        (f"{ONE}<tool_call>", "is not closed"),
    ],
)
def test_malformed_stays_malformed(text: str, reason: str) -> None:
    parsed = parse_answer(text, "hermes")
    assert parsed.message is None
    assert reason in parsed.reason


def test_bare_json() -> None:
    call = Message("assistant", "", (ToolCall("t", {"a": 1}),))
    assert parse_answer('{"name": "t", "parameters": {"a": 1}}', "json").message == call
    assert parse_answer("No.", "json").message == Message("assistant", "No.")
    assert parse_answer('{"name": "t"', "json").message is None


def test_the_format_is_known_by_how_a_call_is_written() -> None:
    assert detect_format(ONE) == "hermes"
    assert detect_format('{"name": "t", "parameters": {}}') == "json"
    assert detect_format("[t(a=1)]") is None
