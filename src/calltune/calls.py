"""Calls in text: how a model writes them, and what it meant. One parser a format; what does not parse is malformed.

| format | written as | known from |
|---|---|---|
| hermes | `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, repeated | Hermes 2, Qwen 2.5, Qwen 3 |
| json   | `{"name": ..., "parameters": {...}}` as the whole answer | Llama 3.1, Llama 3.2 |
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from calltune.types import Message, ToolCall

CallFormat = Literal["hermes", "json"]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """A message, or None when a call was begun and cannot be read; then `reason` says where and why."""

    message: Message | None
    reason: str = ""


def detect_format(written: str) -> CallFormat | None:
    """The format in which a template wrote a call, or None if it is not one of ours."""
    if _OPEN in written and _CLOSE in written:
        return "hermes"
    parsed = _json_calls(written)
    return "json" if parsed.message and parsed.message.tool_calls else None


def parse_answer(text: str, call_format: CallFormat) -> ParsedAnswer:
    """Read an answer written in a format.

    Strict: an opened call that does not close, is not JSON, or has no name or no object of arguments is malformed.
    """
    return _PARSERS[call_format](text)


def _hermes_calls(text: str) -> ParsedAnswer:
    calls: list[ToolCall] = []
    words: list[str] = []
    place = 0
    while (start := text.find(_OPEN, place)) >= 0:
        words.append(text[place:start])
        end = text.find(_CLOSE, start)
        if end < 0:
            return ParsedAnswer(None, f"a call opened at character {start} is not closed")
        call = _call(text[start + len(_OPEN) : end], ("arguments",))
        if isinstance(call, str):
            return ParsedAnswer(None, f"the call at character {start} {call}")
        calls.append(call)
        place = end + len(_CLOSE)
    words.append(text[place:])
    if _CLOSE in text[place:]:
        return ParsedAnswer(None, "a call is closed that was never opened")
    return ParsedAnswer(Message("assistant", "".join(words).strip(), tuple(calls)))


def _json_calls(text: str) -> ParsedAnswer:
    stripped = text.strip()
    if not stripped.startswith("{"):
        return ParsedAnswer(Message("assistant", stripped))
    call = _call(stripped, ("parameters", "arguments"))
    if isinstance(call, str):
        return ParsedAnswer(None, f"the answer begins as a call and {call}")
    return ParsedAnswer(Message("assistant", "", (call,)))


def _call(text: str, argument_keys: tuple[str, ...]) -> ToolCall | str:
    """The call in one JSON text, or what is wrong with it."""
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg} at its character {error.pos}"
    except RecursionError:
        return "is JSON nested too deeply"
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return "has no name"
    arguments = next((value[key] for key in argument_keys if key in value), None)
    if not isinstance(arguments, dict):
        return f"has no object of {argument_keys[0]}"
    return ToolCall(value["name"], arguments)


_PARSERS: dict[CallFormat, Callable[[str], ParsedAnswer]] = {"hermes": _hermes_calls, "json": _json_calls}
