import json
import random
import re
from typing import get_args

import pytest

from calltune.calling.calls import CallFormat, detect_format, parse_answer
from calltune.types import Message, ToolCall

ONE = '<tool_call>\n{"name": "t", "arguments": {"a": 1}}\n</tool_call>'
CALL = ToolCall("t", {"a": 1})
DIGITS = "9" * 5000
OPENED = ["", "<tool_call>", "[", "{", "<function=t>", "[t(a=", '<tool_call>{"name": "t", "arguments": {"a":']
CLOSED = ["", "</tool_call>", "]", ")]", "</function>", "}}</tool_call>"]
PIECES = ['{"name": "t", "arguments": {"a": 1}}', '{"a":', "[t(a=1)]", "t(a=", "{[]: 1}", "1e999", "NaN", "b'x'", "1j"]
SIGNS = ["...", "(", "{", "[", "-", "not ", "lambda: ", "**", "'", '"', "\\", "\n", "\0", "\ud83d", ";", ","]


def _hermes(value: str) -> str:
    return f'<tool_call>{{"name": "t", "arguments": {{"a": {value}}}}}</tool_call>'


def said(text: str, *calls: ToolCall) -> Message:
    return Message("assistant", text, calls)


@pytest.mark.parametrize(
    ("call_format", "text", "message"),
    [
        ("hermes", ONE, said("", CALL)),
        ("hermes", f"{ONE}\n{ONE}", said("", CALL, CALL)),
        ("hermes", f"Wait. {ONE}", said("Wait.", CALL)),
        ("hermes", '<tool_call>{"name": "t", "arguments": {}}</tool_call>', said("", ToolCall("t", {}))),
        ("hermes", " Hello. ", said("Hello.")),
        ("hermes", "", said("")),
        ("json", '{"name": "t", "parameters": {"a": 1}}', said("", CALL)),
        ("json", '<|python_tag|>{"name": "t", "parameters": {"a": 1}}', said("", CALL)),
        ("json", '{"name": "t", "parameters": {"a": 1}}; {"name": "t", "parameters": {"a": 1}}', said("", CALL, CALL)),
        ("json", "No.", said("No.")),
        ("pythonic", "[t(a=1)]", said("", CALL)),
        ("pythonic", "[t(a=1), g.u(b=[True, None], c={'x': -1.5})]", None),
        ("pythonic", "No.", said("No.")),
        ("list", '[{"name": "t", "arguments": {"a": 1}}]', said("", CALL)),
        ("list", "[]", said("")),
        ("list", "No.", said("No.")),
        ("functionary", '<function=t>{"a": 1}</function>', said("", CALL)),
        ("functionary", '<function=t>{"a": 1}</function><function=t>{"a": 1}</function>', said("", CALL, CALL)),
        ("functionary", "No.", said("No.")),
    ],
)
def test_what_is_written_is_read(call_format: CallFormat, text: str, message: Message | None) -> None:
    if message is None:
        message = said("", CALL, ToolCall("g.u", {"b": [True, None], "c": {"x": -1.5}}))
    assert parse_answer(text, call_format).message == message


@pytest.mark.parametrize(
    ("call_format", "text", "reason"),
    [
        ("hermes", "<tool_call>{}", "opened at character 0 is not closed"),
        ("hermes", "x</tool_call>", "closed that was never opened"),
        ("hermes", f"</tool_call>{ONE}", "closed that was never opened"),
        ("hermes", "ab<tool_call>{</tool_call>", "at character 2 is not JSON"),
        ("hermes", "<tool_call>" + "[" * 100_000 + "</tool_call>", "nested too deeply"),
        ("hermes", "<tool_call>[]</tool_call>", "has no name"),
        ("hermes", '<tool_call>{"name": 3, "arguments": {}}</tool_call>', "has no name"),
        ("hermes", '<tool_call>{"name": "t"}</tool_call>', "has no object of arguments"),
        ("hermes", '<tool_call>{"name": "t", "arguments": "x"}</tool_call>', "has no object of arguments"),
        ("hermes", f"{ONE}<tool_call>", "is not closed"),
        ("json", '{"name": "t"', "is not JSON"),
        ("json", '{"name": "t", "parameters": {}} and more', "text after the call"),
        ("json", '{"name": "t"}', "has no object of arguments"),
        ("pythonic", "[t(a=1)", "begins as a list of calls and"),
        ("pythonic", "[t(1)]", "no call with named arguments"),
        ("pythonic", "[t(a=open('x'))]", "begins as a list of calls and"),
        ("pythonic", "[t(a=b'x')]", "a value that JSON does not have"),
        ("pythonic", "[t(**a)]", "no call with named arguments"),
        ("list", '[{"name": "t"}]', "call 0 has no object of arguments"),
        ("list", "[{", "is not JSON"),
        ("functionary", "<function=t>{", "is not closed"),
        ("functionary", "<function=t>[]</function>", "has no object of arguments"),
        ("functionary", "</function>", "opened or closed alone"),
        ("hermes", _hermes(DIGITS), "a number of thousands of digits"),
        ("hermes", _hermes("NaN"), "at character 0 holds a value that JSON does not have"),
        ("hermes", _hermes("-1e999"), "holds a value that JSON does not have"),
        ("hermes", _hermes('"\\ud83d"'), "is out of bounds: half of a surrogate pair, \\ud83d, is no text"),
        ("hermes", _hermes("[" * 70 + "]" * 70), "is out of bounds: JSON nested too deeply: more than 64 levels"),
        ("json", f'{{"name": "t", "parameters": {{"a": {DIGITS}}}}}', "at character 0 is not JSON"),
        ("list", f"[{DIGITS}]", "is not JSON"),
        ("functionary", f'<function=t>{{"a": {DIGITS}}}</function>', "has no object of arguments"),
        ("pythonic", f"[t(a={DIGITS})]", "begins as a list of calls and"),
        ("pythonic", "[t(a=1e999)]", "a value that JSON does not have"),
        ("pythonic", "[t(a={[]: 1})]", "gives 'a' something that is no value in Python"),
        ("pythonic", "[t(a=1 + x)]", "gives 'a' 'x', which is no value in Python"),
        ("pythonic", "[t(a=true, b=null)]", "gives 'a' 'true', which is no value in Python (True is)"),
        ("pythonic", "[t(a=[{'b': false}])]", "gives 'a' 'false', which is no value in Python (False is)"),
        ("pythonic", "[t(a=1, b=[null])]", "gives 'b' 'null', which is no value in Python (None is)"),
        ("pythonic", "[t(a=f(1))]", "gives 'a' 'f', which is no value in Python"),
        ("pythonic", "[t(a=[1, 2}])]", "is not written as Python at character 10"),
        ("pythonic", "[t(a='\0')]", "is not written as Python"),
        ("pythonic", "[(lambda: 1)(a=1)]", "a call of something that is no name"),
        ("pythonic", "[" + "-" * 6000, "is nested too deeply"),
        ("pythonic", "[" * 6000, "begins as a list of calls and"),
        ("pythonic", "[t(a='\\ud83d')]", "half of a surrogate pair"),
    ],
)
def test_malformed_stays_malformed(call_format: CallFormat, text: str, reason: str) -> None:
    parsed = parse_answer(text, call_format)
    assert parsed.message is None
    assert reason in parsed.reason


def test_a_call_is_what_a_file_gives_back() -> None:
    parsed = parse_answer("[t(a=(1, (2,)), b={3: None})]", "pythonic")
    assert parsed.message == said("", ToolCall("t", {"a": [1, [2]], "b": {"3": None}}))


@pytest.mark.parametrize("call_format", get_args(CallFormat))
def test_nothing_that_a_model_writes_stops_a_run(call_format: CallFormat) -> None:
    """Whatever a model repeats until its tokens are used up is read, and what is read can be written and read."""
    pieces = [*PIECES, *SIGNS, DIGITS]
    repeated = [piece * times for piece in pieces for times in (1, 400) if len(piece) * times < 20_000]
    texts = [start + piece + end for start in OPENED for piece in repeated for end in CLOSED]
    chance = random.Random(0)
    texts += ["".join(chance.choices([*OPENED, *pieces, *CLOSED], k=8)) for _ in range(2000)]
    for text in texts:
        parsed = parse_answer(text, call_format)
        message = parsed.message
        # A reason is a sentence of ours, the same in every run.
        assert not re.search("0x[0-9a-f]{6}|ast\\.|Error", parsed.reason.replace(text, ""))
        for call in message.tool_calls if message else ():
            assert json.loads(json.dumps(call.arguments, allow_nan=False)) == call.arguments


@pytest.mark.parametrize(
    ("written", "call_format"),
    [
        (ONE, "hermes"),
        ('{"name": "t", "parameters": {}}', "json"),
        ("[t(a=1)]", "pythonic"),
        ('[{"name": "t", "arguments": {}}]', "list"),
        ('<function=t>{"a": 1}</function>', "functionary"),
        ("call t with a 1", None),
        ("[]", None),
    ],
)
def test_the_format_is_known_by_how_a_call_is_written(written: str, call_format: str | None) -> None:
    assert detect_format(written) == call_format
