"""Calls that were left in the text of an answer: read where the format is known, malformed where it is not."""

import json

import pytest

from calltune.calling.call_text import read_call_text
from calltune.types import Message, Tool, ToolCall

TOOLS = tuple(Tool(name, "", {"type": "object"}) for name in ("add", "Find Flat", "ns.find"))
CALL = ToolCall("add", {"a": 5, "b": 8})
OBJECT = '{"name": "add", "arguments": {"a": 5, "b": 8}}'
AS_TEXT = json.dumps({"name": "add", "arguments": json.dumps({"a": 5, "b": 8})})

DEEPSEEK = "<|tool_calls_begin|><|tool_call_begin|>{}<|tool_call_end|><|tool_calls_end|>"
# DeepSeek's marks are written with a bar and an underscore of their own.
ODD = str.maketrans({"|": "\uff5c", "_": "\u2581"})

READ = {
    "hermes": f"<tool_call>\n{OBJECT}\n</tool_call>",
    "hermes in Python": "<tool_call>\n{'name': 'add', 'arguments': {'a': 5, 'b': 8}}\n</tool_call>",
    "nemotron": f"<TOOLCALL>[{OBJECT}]</TOOLCALL>",
    "mistral": f"[TOOL_CALLS] [{OBJECT}]",
    "mistral, newer": '[TOOL_CALLS]add{"a": 5, "b": 8}',
    "mistral, newest": '[TOOL_CALLS]add[ARGS]{"a": 5, "b": 8}',
    "glaive": '<functioncall> {"name": "add", "arguments": \'{"a": 5, "b": 8}\'} <|endoftext|>',
    "functionary": '<function=add>{"a": 5, "b": 8}</function>',
    "llama": '<|python_tag|>{"name": "add", "parameters": {"a": 5, "b": 8}}<|eom_id|>',
    "granite": f"<|tool_call|>[{OBJECT}]",
    "lfm2": "<|tool_call_start|>[add(a=5, b=8)]<|tool_call_end|>",
    "gemma 4": "<|tool_call>call:add{a:5,b:8}<tool_call|>",
    "functiongemma": "<start_function_call>call:add{a:5,b:8}<end_function_call>",
    "gpt-oss": '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 5, "b": 8}<|call|>',
    "gpt-oss behind a thought": "<|channel|>analysis<|message|>I add.<|end|><|start|>assistant to=functions.add"
    '<|channel|>commentary json<|message|>{"a": 5, "b": 8}',
    "deepseek v3": DEEPSEEK.format('function<|tool_sep|>add\n```json\n{"a": 5, "b": 8}\n```').translate(ODD),
    "deepseek v3.1": DEEPSEEK.format('add<|tool_sep|>{"a": 5, "b": 8}').translate(ODD),
    "pythonic": "[add(a=5, b=8)]",
    "without a list": "add(a=5, b=8)",
    "json": OBJECT,
    "json list": f"[{OBJECT}]",
    "arguments as text": AS_TEXT,
    "in a fence": f"```json\n{OBJECT}\n```",
    "openai's own": json.dumps({"tool_calls": [{"type": "function", "function": json.loads(OBJECT)}]}),
}


@pytest.mark.parametrize("name", READ)
def test_a_call_in_a_known_format_is_a_call(name: str) -> None:
    parsed = read_call_text(READ[name], TOOLS)
    assert parsed is not None, "it passed for words"
    assert parsed.message == Message("assistant", "", (CALL,)), parsed.reason


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n<function=add>\n<parameter=a>\n5\n</parameter>\n<parameter=b>\n8\n</parameter>\n</function>\n"
        "</tool_call>",
        "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>5</arg_value>\n<arg_key>b</arg_key><arg_value>8</arg_value>\n"
        "</tool_call>",
    ],
)
def test_bare_text_becomes_what_the_tools_schema_says(text: str) -> None:
    typed = Tool("add", "", {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}})
    parsed = read_call_text(text, [typed])
    assert parsed
    assert parsed.message == Message("assistant", "", (CALL,)), parsed.reason
    untold = read_call_text(text, TOOLS)
    assert untold
    assert untold.message is None
    assert untold.reason == "no tool that is offered says what 'a' of 'add' is"


def test_words_beside_calls_and_several_calls() -> None:
    both = '{"name": "add", "arguments": {}}'
    for text in (
        f"I add. <tool_call>{both}</tool_call><tool_call>{both}</tool_call>",
        f"I add. <TOOLCALL>[{both}, {both}]</TOOLCALL>",
        f"I add. [TOOL_CALLS][{both}, {both}]",
        "I add. [TOOL_CALLS]add{}[TOOL_CALLS]add{}",
    ):
        parsed = read_call_text(text, TOOLS)
        assert parsed
        assert parsed.message == Message("assistant", "I add.", (ToolCall("add", {}),) * 2)


def test_names_that_python_does_not_have() -> None:
    parsed = read_call_text('[Find Flat(city="Bern"), ns.find(x=[1]), Find Flat(city="a) b")]', TOOLS)
    assert parsed
    assert parsed.message
    made = [(call.name, call.arguments) for call in parsed.message.tool_calls]
    assert made == [("Find Flat", {"city": "Bern"}), ("ns.find", {"x": [1]}), ("Find Flat", {"city": "a) b"})]
    confused = read_call_text('[Find Flat(city="), Find Flat(")]', TOOLS)
    assert confused
    assert confused.message is None


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n<function=add>\n<parameter=a>\n5\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>5</arg_value>\n</tool_call>",
        "<tool_call>{",
        "</tool_call>",
        "<TOOLCALL>[",
        "[TOOL_CALLS] add",
        "<function=add><parameter=a>5</parameter></function>",
        "<\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>function<\uff5ctool\u2581sep\uff5c>add",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0",
        '<function_calls><invoke name="add"></invoke></function_calls>',
        "<|channel|>commentary to=functions.add<|message|>{",
        "<start_function_call>call:add{a:5}",
        "<|tool_call>call:add{a:five}<tool_call|>",
        '<minimax:tool_call>\n<invoke name="add">',
        "```tool_code\nprint(add(a=5))\n```",
        'Thought: I add.\nAction: add\nAction Input: {"a": 5}',
        f"I will add. {OBJECT}",
        "Sure: [add(a=5, b=8)]",
        "[add(a=5, b=*)]",
        '{"name": "add", "arguments": 5}',
        '{"tool": "add", "with": {"a": 5}}',
    ],
)
def test_a_call_that_cannot_be_read_never_passes_for_words(text: str) -> None:
    parsed = read_call_text(text, TOOLS)
    assert parsed is not None, "it passed for words"
    assert parsed.message is None
    assert parsed.reason
    assert len(parsed.reason.splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "It is 13.",
        'The object {"name": "Bern", "flats": 3} is what I found.',
        '{"name": "Bern", "flats": 3}',
        "[1, 2, 3]",
        "[a link](https://example.org/add(1))",
        "I can add (a, b) or find (x).",
        "Use f(x=1) to call it, or x = [y for y in g(z)].",
        "Which of [a], [b] and [c] (all free)?",
    ],
)
def test_words_stay_words(text: str) -> None:
    assert read_call_text(text, TOOLS) is None


def test_a_call_is_known_by_its_shape_where_no_tool_is_offered() -> None:
    for text in (OBJECT, "[add(a=5, b=8)]", f"<TOOLCALL>[{OBJECT}]</TOOLCALL>"):
        parsed = read_call_text(text, ())
        assert parsed
        assert parsed.message
        assert parsed.message.tool_calls == (CALL,)


def test_long_texts_take_no_square_of_their_length() -> None:
    for piece in ("<tool_call>", "[add(", "[TOOL_CALLS]", '{"name": "add", ', "<think>", "<function=add>", "["):
        read_call_text(piece * 20_000, TOOLS)
