"""Calls in text: how models write them, and how they are read. What a format's parser cannot read is malformed.

| format      | written as                                                             | known from                  |
|-------------|------------------------------------------------------------------------|-----------------------------|
| hermes      | `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, repeated   | Hermes 2, Qwen 2.5, Qwen 3  |
| json        | `{"name": ..., "parameters": {...}}` as the whole answer, `;` between  | Llama 3.1, Llama 3.2        |
| pythonic    | `[name(key="value"), ...]` as the whole answer                         | Llama 3.2, Llama 4          |
| list        | `[{"name": ..., "arguments": {...}}, ...]` as the whole answer         | xLAM 2, Mistral             |
| functionary | `<function=name>{...}</function>`, repeated                            | functionary 3.1             |
| lfm2        | `<|tool_call_start|>[name(key="value")]<|tool_call_end|>`              | LFM2, LFM2.5                |
| xml, glm    | values as bare text: `untyped_calls` has them                          | Qwen 3.5, Nemotron 3, GLM 4 |

`gemma_calls`, `channel_calls` and `marked_calls` have the formats of Gemma 4 and FunctionGemma, of gpt-oss and Muse
Glimmer, and of DeepSeek, Mistral, Granite and functionary 3.2.

The format that a model uses is read off its own template, never off its name.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from calltune.calling.channel_calls import atem_calls, harmony_calls
from calltune.calling.gemma_calls import functiongemma_calls, gemma4_calls
from calltune.calling.marked_calls import (
    deepseek_v3_calls,
    deepseek_v31_calls,
    functionary_v3_calls,
    granite_calls,
    mistral_calls,
    mistral_v11_calls,
)
from calltune.calling.parsed import ParsedAnswer, calls_between, make_call
from calltune.calling.pythonic_calls import lfm2_calls, pythonic_calls
from calltune.calling.untyped_calls import glm_calls, xml_calls
from calltune.types import Message, Tool, ToolCall

CallFormat = Literal[
    "hermes",
    "json",
    "pythonic",
    "list",
    "functionary",
    "xml",
    "glm",
    "lfm2",
    "gemma4",
    "functiongemma",
    "harmony",
    "atem",
    "deepseek_v3",
    "deepseek_v31",
    "mistral",
    "mistral_v11",
    "granite",
    "functionary_v3",
]

# The first of these that a template writes around a call says the format.
_BY_MARK: tuple[tuple[str, CallFormat], ...] = (
    ("<atem:function_calls>", "atem"),
    ("<|channel|>commentary", "harmony"),
    ("<|tool_call>", "gemma4"),
    ("<start_function_call>", "functiongemma"),
    ("<\uff5ctool\u2581sep\uff5c>", "deepseek_v31"),
    ("[ARGS]", "mistral_v11"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|tool_call|>", "granite"),
)

_FUNCTION = re.compile(r"<function=([^>\s]+)>")


def detect_format(written: str) -> CallFormat | None:
    """Return the format in which a template wrote a call, or None if it is not one of ours."""
    if "<tool_call>" in written and "</tool_call>" in written:
        return "xml" if "<parameter=" in written else "glm" if "<arg_key>" in written else "hermes"
    by_mark: CallFormat | None = next((call_format for mark, call_format in _BY_MARK if mark in written), None)
    if by_mark == "deepseek_v31" and "```json" in written:
        return "deepseek_v3"
    if by_mark:
        return by_mark
    formats: tuple[CallFormat, ...] = ("lfm2", "functionary", "json", "list", "pythonic", "functionary_v3")
    for name in formats:
        parsed = _PARSERS[name](written, ())
        if parsed.message and parsed.message.tool_calls:
            return name
    return None


def parse_answer(text: str, call_format: CallFormat, tools: Sequence[Tool] = ()) -> ParsedAnswer:
    """Read an answer that is written in a format.

    The reading is strict: a call that is opened and does not close, is not JSON, or has no name or no object of
    arguments is malformed.

    Args:
        tools: those that were offered; their schemas say what a value is where a format writes it as bare text.
    """
    return _PARSERS[call_format](text, tools)


def same_calls(known: Sequence[ToolCall], made: Sequence[ToolCall]) -> bool:
    """Whether exactly the known calls are made, in whatever order."""
    rest = list(made)
    for call in known:
        if call not in rest:
            return False
        rest.remove(call)
    return not rest


def _hermes(text: str) -> ParsedAnswer:
    return calls_between(text, "<tool_call>", "</tool_call>", _json_call)


def _functionary(text: str) -> ParsedAnswer:
    calls: list[ToolCall] = []
    words: list[str] = []
    place = 0
    while match := _FUNCTION.search(text, place):
        words.append(text[place : match.start()])
        end = text.find("</function>", match.end())
        if end < 0:
            return ParsedAnswer(None, f"a call opened at character {match.start()} is not closed")
        call = make_call(match[1], _json(text[match.end() : end]))
        if isinstance(call, str):
            return ParsedAnswer(None, f"the call at character {match.start()} {call}")
        calls.append(call)
        place = end + len("</function>")
    words.append(text[place:])
    if "<function=" in "".join(words) or "</function>" in "".join(words):
        return ParsedAnswer(None, "a call is opened or closed alone")
    return ParsedAnswer(Message("assistant", "".join(words).strip(), tuple(calls)))


def _bare_json(text: str) -> ParsedAnswer:
    stripped = text.strip().removeprefix("<|python_tag|>").strip()
    if not stripped.startswith("{"):
        return ParsedAnswer(Message("assistant", text.strip()))
    calls: list[ToolCall] = []
    decoder, place = json.JSONDecoder(), 0
    while place < len(stripped):
        try:
            value, end = decoder.raw_decode(stripped, place)
        except (ValueError, RecursionError):
            return ParsedAnswer(None, f"the call at character {place} is not JSON")
        call = _call(value)
        if isinstance(call, str):
            return ParsedAnswer(None, f"the call at character {place} {call}")
        calls.append(call)
        rest = stripped[end:].lstrip()
        if rest and not rest.startswith(";"):
            return ParsedAnswer(None, f"there is text after the call, at character {end}")
        place = len(stripped) - len(rest.removeprefix(";").lstrip())
    return ParsedAnswer(Message("assistant", "", tuple(calls)))


def _json_list(text: str) -> ParsedAnswer:
    stripped = text.strip().removeprefix("[TOOL_CALLS]").strip()
    if not stripped.startswith("["):
        return ParsedAnswer(Message("assistant", text.strip()))
    values = _json(stripped)
    if not isinstance(values, list):
        return ParsedAnswer(None, "the answer begins as a list of calls and is not JSON")
    calls = [_call(value) for value in values]
    wrong = next((f"call {number} {call}" for number, call in enumerate(calls) if isinstance(call, str)), None)
    if wrong:
        return ParsedAnswer(None, wrong)
    return ParsedAnswer(Message("assistant", "", tuple(call for call in calls if isinstance(call, ToolCall))))


def _json_call(text: str) -> ToolCall | str:
    try:
        return _call(json.loads(text))
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg} at its character {error.pos}"
    except ValueError:
        return "is not JSON: a number of thousands of digits"
    except RecursionError:
        return "is JSON nested too deeply"


def _call(value: Any) -> ToolCall | str:
    """Return the call in one JSON value, or what is wrong with it."""
    if not isinstance(value, dict):
        return "has no name"
    return make_call(value.get("name"), next((value[key] for key in ("arguments", "parameters") if key in value), None))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _untold(parse: Callable[[str], ParsedAnswer]) -> Callable[[str, Sequence[Tool]], ParsedAnswer]:
    """A parser of a format whose values say themselves what they are."""
    return lambda text, tools: parse(text)


_PARSERS: dict[CallFormat, Callable[[str, Sequence[Tool]], ParsedAnswer]] = {
    "hermes": _untold(_hermes),
    "json": _untold(_bare_json),
    "pythonic": _untold(pythonic_calls),
    "list": _untold(_json_list),
    "functionary": _untold(_functionary),
    "xml": xml_calls,
    "glm": glm_calls,
    "lfm2": _untold(lfm2_calls),
    "gemma4": _untold(gemma4_calls),
    "functiongemma": _untold(functiongemma_calls),
    "harmony": _untold(harmony_calls),
    "atem": atem_calls,
    "deepseek_v3": _untold(deepseek_v3_calls),
    "deepseek_v31": _untold(deepseek_v31_calls),
    "mistral": _untold(mistral_calls),
    "mistral_v11": _untold(mistral_v11_calls),
    "granite": _untold(granite_calls),
    "functionary_v3": _untold(functionary_v3_calls),
}
