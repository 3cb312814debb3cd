"""Answers in several messages, each with a header that says for whom it is: thoughts, calls, words for the user.

harmony, of gpt-oss: `<|channel|>analysis<|message|>...<|end|><|start|>assistant to=functions.name<|channel|>commentary
json<|message|>{...}<|call|>`, or `<|channel|>final<|message|>words<|return|>`.

atem, of Muse Glimmer: ` to=name<|message|>` before `<atem:function_calls>`, whose values are bare text, or
` to=user<|message|>words<|eot|>`.

The first header's `<|start|>assistant` stands in the prompt.
"""

import re
from collections.abc import Callable, Sequence

from calltune.calling.parsed import ENDLESS_THOUGHT, ParsedAnswer, json_call
from calltune.calling.strict_json import shortened
from calltune.calling.untyped_calls import all_pairs, typed_call
from calltune.types import Message, Tool, ToolCall

_START = "<|start|>assistant"
_HARMONY = re.compile(
    r"(?: to=(?P<first>[^\s<]+))?<\|channel\|>(?P<channel>analysis|commentary|final)(?: to=(?P<second>[^\s<]+))?"
    r"(?: ?(?:<\|constrain\|>)?(?P<kind>json))?"
)
_ATEM = re.compile(r"(?: to=(?P<to>[^\s<]+))?")
_INVOKED = re.compile(
    r'<atem:function_calls>\n<atem:invoke name="([^"\n]+)">\n(.*)</atem:invoke>\n</atem:function_calls>', re.DOTALL
)
_PARAMETER = re.compile(r'<atem:parameter name="([^"\n]*)">(.*?)</atem:parameter>\n', re.DOTALL)
_MARKS = ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>", "<|return|>", "<|eom|>", "<|eot|>")

_Read = Callable[[str, str], "ToolCall | str | None"]
"""From a message's header and body to its call, its words, or None for a thought.

It raises a `_Unreadable` of what is wrong.
"""


class _Unreadable(ValueError):
    """What is wrong with a message, as the end of a sentence."""


def harmony_calls(text: str) -> ParsedAnswer:
    """Read the messages of gpt-oss: what it thinks in its channel of analysis is no part of its answer."""

    def read(header: str, body: str) -> ToolCall | str | None:
        match = _HARMONY.fullmatch(header)
        if not match:
            raise _Unreadable(f"has the header {shortened(header)}, which is not one of gpt-oss")
        recipient, channel = match["first"] or match["second"], match["channel"]
        if recipient is None and match["kind"] is None:
            return None if channel == "analysis" else body
        prefix, _, name = (recipient or "").partition(".")
        if channel != "commentary" or prefix != "functions" or not name or (match["first"] and match["second"]):
            raise _Unreadable(f"is not for a function in the channel of commentary: {shortened(header)}")
        return _called(json_call(name, body))

    return _messages(text, ("<|end|>", "<|call|>"), read)


def atem_calls(text: str, tools: Sequence[Tool]) -> ParsedAnswer:
    """Read the messages of Muse Glimmer; what it says to itself is no part of its answer."""

    def read(header: str, body: str) -> ToolCall | str | None:
        match = _ATEM.fullmatch(header)
        if not match:
            raise _Unreadable(f"has the header {shortened(header)}, which is not one of Muse Glimmer")
        if match["to"] in (None, "user", "self"):
            return None if match["to"] == "self" else body
        invoked = _INVOKED.fullmatch(body)
        if not invoked or invoked[1] != match["to"]:
            raise _Unreadable(f"is for {shortened(match['to'])} and is no call of it")
        pairs = all_pairs(_PARAMETER, invoked[2])
        if pairs is None:
            raise _Unreadable("holds something beside its parameters")
        return _called(typed_call(invoked[1], pairs, tools))

    return _messages(text, ("<|eom|>",), read)


def _called(call: ToolCall | str) -> ToolCall:
    if isinstance(call, str):
        raise _Unreadable(call)
    return call


def _messages(text: str, ends: tuple[str, ...], read: _Read) -> ParsedAnswer:
    """Read the messages of an answer.

    Args:
        ends: what closes a message that another one follows; the last one's end was taken off before.
    """
    calls: list[ToolCall] = []
    words: list[str] = []
    pieces = text.removeprefix(_START).split(_START)
    for number, piece in enumerate(pieces, 1):
        place = f"message {number} of the answer"
        header, mark, body = piece.partition("<|message|>")
        if not mark:
            return ParsedAnswer(None, f"{place} has no <|message|>")
        is_last = number == len(pieces)
        end = next((end for end in ends if body.endswith(end)), "")
        if not (end or is_last):
            return ParsedAnswer(None, f"{place} is not closed")
        body = body.removesuffix(end)
        if inner := next((mark for mark in _MARKS if mark in body), None):
            return ParsedAnswer(None, f"{place} holds {inner}")
        try:
            said = read(header, body)
        except _Unreadable as error:
            return ParsedAnswer(None, f"{place} {error}")
        if said is None and is_last:
            return ParsedAnswer(None, ENDLESS_THOUGHT)
        if isinstance(said, ToolCall):
            calls.append(said)
        elif said is not None:
            words.append(said)
    return ParsedAnswer(Message("assistant", "\n".join(words).strip(), tuple(calls)))
