"""What a parser reads of an answer: a message, or where and why its call cannot be read; and what a call may hold."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from calltune.calling.strict_json import check_value, parse_value
from calltune.errors import DataError
from calltune.types import Message, ToolCall

NOTHING_SAID = "the answer has neither text nor calls"
"""Why such an answer is malformed, whoever gave it."""

ENDLESS_THOUGHT = "a thought is begun and never ends"
"""The same."""


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What a parser read: a message, or None when a call was begun and cannot be read.

    `reason` then says where and why.
    """

    message: Message | None
    reason: str = ""


def without_thoughts(text: str) -> str | None:
    """Return what an answer says behind its thoughts in `<think>` tags; None where one is begun and never ends.

    A call inside a thought is no call. Everything up to the last end of a thought is left out, as Qwen's own code does
    it: templates that open the thought themselves leave its beginning in the prompt.
    """
    _, mark, rest = text.rpartition("</think>")
    if "<think>" in rest:
        return None
    return rest.lstrip("\n") if mark else text


def thought_in(text: str) -> str:
    """Return what stands in an answer's thought, without the tags; a thought that never ends is one, too.

    Of a thought that the prompt opened, the answer holds the end alone.
    """
    before, ended, _ = text.rpartition("</think>")
    _, begun, thought = (before if ended else text).partition("<think>")
    return (thought if begun else before).strip()


def says_nothing(message: Message) -> bool:
    """Return whether an answer has neither text nor calls."""
    return not message.tool_calls and not message.content.strip()


def make_call(name: Any, arguments: Any) -> ToolCall | str:
    """Return the call that a model wrote, or what is wrong with it.

    The arguments become what a file of JSON would give back: a tuple becomes a list, and a number that is a key becomes
    its text. So a completion is scored alike before and after it was read from a file. What a file cannot hold, and
    NaN, is no argument.
    """
    if not isinstance(name, str):
        return "has no name"
    if not isinstance(arguments, dict):
        return "has no object of arguments"
    try:
        kept = json.loads(json.dumps(arguments, allow_nan=False))
        check_value([name, kept], "is out of bounds")
    except (TypeError, ValueError):
        return "holds a value that JSON does not have"
    except RecursionError:
        return "is nested too deeply"
    except DataError as error:
        return str(error)
    return ToolCall(name, kept)


def json_value(text: str) -> Any:
    """Return a value of JSON, read strictly, or as a `DataError` that says why it is none."""
    try:
        return parse_value(text, "JSON")
    except DataError as error:
        return error


def json_call(name: str, text: str) -> ToolCall | str:
    """Return the call of a name whose arguments are JSON text, or what is wrong with it as the end of a sentence."""
    arguments = json_value(text)
    return (
        f"has arguments that cannot be read: {arguments}"
        if isinstance(arguments, DataError)
        else make_call(name, arguments)
    )


def calls_between(text: str, opened: str, closed: str, read: Callable[[str], ToolCall | str]) -> ParsedAnswer:
    """Read an answer whose calls stand each between two marks, among words.

    Args:
        read: gives the call that stands between two marks, or what is wrong with it, as the end of a sentence.
    """
    calls: list[ToolCall] = []
    words: list[str] = []
    place = 0
    while (start := text.find(opened, place)) >= 0:
        words.append(text[place:start])
        end = text.find(closed, start)
        if end < 0:
            return ParsedAnswer(None, f"a call opened at character {start} is not closed")
        call = read(text[start + len(opened) : end])
        if isinstance(call, str):
            return ParsedAnswer(None, f"the call at character {start} {call}")
        calls.append(call)
        place = end + len(closed)
    words.append(text[place:])
    if closed in "".join(words):
        return ParsedAnswer(None, "a call is closed that was never opened")
    return ParsedAnswer(Message("assistant", "".join(words).strip(), tuple(calls)))
