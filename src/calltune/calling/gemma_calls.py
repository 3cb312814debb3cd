"""Calls of Gemma 4 and FunctionGemma: `call:name{key:value,...}` between two marks, with a mark of its own for quotes.

gemma4: `<|tool_call>call:name{text:<|"|>value<|"|>,count:2}<tool_call|>`. functiongemma: the same between
`<start_function_call>` and `<end_function_call>`, with `<escape>` around texts. Keys stand bare, nothing is escaped,
and no white space stands between a value and the next key.
"""

import json
import re
from typing import Any

from calltune.calling.parsed import ENDLESS_THOUGHT, ParsedAnswer, calls_between, make_call
from calltune.calling.strict_json import MAX_DEPTH, shortened
from calltune.types import ToolCall

_NAMED = re.compile(r"call:([^\s{}:]+)(?=\{)")
_KEY = re.compile(r"([^:{}\[\],]*):")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?=[,\]}])")
# Gemma 4's first templates write Python's word for null.
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "None": None}
_WORD = re.compile(r"(true|false|null|None)(?=[,\]}])")


def gemma4_calls(text: str) -> ParsedAnswer:
    """Read the calls of Gemma 4; what it thinks in its channel of thoughts is no part of its answer."""
    _, mark, answer = text.rpartition("<channel|>")
    if "<|channel>" in answer:
        return ParsedAnswer(None, ENDLESS_THOUGHT)
    return _calls(answer.lstrip("\n") if mark else text, "<|tool_call>", "<tool_call|>", '<|"|>')


def functiongemma_calls(text: str) -> ParsedAnswer:
    """Read the calls of FunctionGemma."""
    return _calls(text, "<start_function_call>", "<end_function_call>", "<escape>")


def _calls(text: str, opened: str, closed: str, quote: str) -> ParsedAnswer:
    def call(block: str) -> ToolCall | str:
        match = _NAMED.match(block)
        if not match:
            return "is not `call:name{...}`"
        reader = _Reader(block, match.end(), quote)
        try:
            arguments = reader.value(0)
            reader.end()
        except _Unreadable as error:
            return str(error)
        return make_call(match[1], arguments)

    return calls_between(text, opened, closed, call)


class _Unreadable(ValueError):
    """What is wrong with a call, as the end of a sentence."""


class _Reader:
    """Reads values from a place in a call on."""

    def __init__(self, text: str, place: int, quote: str) -> None:
        self._text, self._place, self._quote = text, place, quote

    def value(self, depth: int) -> Any:
        """Return the value at this place, and go behind it."""
        if depth > MAX_DEPTH:
            raise _Unreadable("is nested too deeply")
        if self._takes("{"):
            return self._object(depth)
        if self._takes("["):
            return self._list(depth)
        if self._takes(self._quote):
            return self._quoted()
        if match := _WORD.match(self._text, self._place):
            self._place = match.end()
            return _WORDS[match[1]]
        if match := _NUMBER.match(self._text, self._place):
            self._place = match.end()
            return self._number(match[0])
        raise _Unreadable(f"has no value at its character {self._place}: {shortened(self._text[self._place :], 20)}")

    def end(self) -> None:
        """Demand that nothing is left."""
        if self._place < len(self._text):
            raise _Unreadable(f"goes on behind its arguments, at its character {self._place}")

    def _object(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not self._takes("}"):
            if values:
                self._demand(",")
            key = self._key()
            if key in values:
                raise _Unreadable(f"gives {shortened(key)} twice")
            values[key] = self.value(depth + 1)
        return values

    def _list(self, depth: int) -> list[Any]:
        values: list[Any] = []
        while not self._takes("]"):
            if values:
                self._demand(",")
            values.append(self.value(depth + 1))
        return values

    def _key(self) -> str:
        if self._takes(self._quote):
            key = self._quoted()
            self._demand(":")
            return key
        match = _KEY.match(self._text, self._place)
        if not match:
            raise _Unreadable(f"has no key at its character {self._place}")
        self._place = match.end()
        return match[1]

    def _quoted(self) -> str:
        end = self._text.find(self._quote, self._place)
        if end < 0:
            raise _Unreadable(f"has a text at its character {self._place} that is not closed")
        start, self._place = self._place, end + len(self._quote)
        return self._text[start:end]

    def _number(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise _Unreadable("has a number of thousands of digits") from None

    def _takes(self, mark: str) -> bool:
        if self._text.startswith(mark, self._place):
            self._place += len(mark)
            return True
        return False

    def _demand(self, mark: str) -> None:
        if not self._takes(mark):
            raise _Unreadable(f"has no {mark!r} at its character {self._place}")
