"""Calls as values that others wrote down, whatever their keys are called."""

import json
from collections.abc import Sequence
from typing import Any

from calltune.calling.parsed import ParsedAnswer, make_call
from calltune.calling.strict_json import parse_literal
from calltune.errors import DataError
from calltune.types import Message, ToolCall

NAMES = ("name", "tool", "tool_name", "function", "function_name", "action")
"""Keys under which the name of a call stands."""

_ARGUMENTS = ("arguments", "parameters", "args", "input")
_ABSENT: Any = object()


def listed_calls(text: str, place: str) -> list[ToolCall]:
    """Return the calls of a text that spells one call or a list of them.

    Raises:
        DataError: it spells something else; the message begins with `place`.
    """
    value = parse_literal(text.strip(), place)
    return [loose_call(call, place) for call in (value if isinstance(value, list) else [value])]


def loose_call(value: Any, place: str) -> ToolCall:
    """Return the call in a value, whatever its keys are called.

    Raises:
        DataError: it is none.
    """
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        raise DataError(f"{place} holds something that is no call")
    name = next((value[key] for key in NAMES if isinstance(value.get(key), str)), None)
    arguments = next((value[key] for key in _ARGUMENTS if key in value), _ABSENT)
    return made_call(name, arguments, place)


def made_call(name: Any, arguments: Any, place: str) -> ToolCall:
    """Return the call of a name, whose arguments may be empty, or JSON text.

    Raises:
        DataError: it is none.
    """
    if arguments in ("", None):
        arguments = {}
    if isinstance(arguments, str):
        arguments = parse_literal(arguments, f"{place}: arguments")
    call = make_call(name or None, arguments)
    if isinstance(call, str):
        raise DataError(f"{place}: a call {call}")
    return call


def json_at(text: str, place: int, where: str) -> tuple[Any, int]:
    """Return the value of JSON that begins at a place of a text, and where it ends.

    Raises:
        DataError: none begins there.
    """
    try:
        value, end = json.JSONDecoder().raw_decode(text, place)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: the arguments at character {place} are not JSON") from None
    return value, end


def answer_of(words: str, calls: Sequence[ToolCall]) -> ParsedAnswer:
    """Return an answer of words and calls."""
    return ParsedAnswer(Message("assistant", words.strip(), tuple(calls)))
