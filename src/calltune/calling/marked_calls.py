"""Calls whose arguments are JSON, between marks of one family's own.

| format         | written as                                                                            |
|----------------|---------------------------------------------------------------------------------------|
| deepseek_v3    | `<|tool_call_begin|>function<|tool_sep|>name`, a fence of JSON, `<|tool_call_end|>`    |
| deepseek_v31   | `<|tool_call_begin|>name<|tool_sep|>{...}<|tool_call_end|>`                            |
| mistral        | `[TOOL_CALLS][{"name": ..., "arguments": {...}, "id": ...}]`                          |
| mistral_v11    | `[TOOL_CALLS]name[ARGS]{...}`, or `[TOOL_CALLS]name[CALL_ID]id[ARGS]{...}`             |
| granite        | `<|tool_call|>[{"name": ..., "arguments": {...}}]`                                    |
| functionary_v3 | `name` and a line break before `{...}`, with `>>>` between calls; `all` before words  |

DeepSeek's calls stand together between `<|tool_calls_begin|>` and `<|tool_calls_end|>`; its bars are U+FF5C, its
underscores U+2581.
"""

import json
import re
from typing import Any

from calltune.calling.parsed import ParsedAnswer, json_call, json_value, make_call
from calltune.calling.strict_json import shortened
from calltune.errors import DataError
from calltune.types import Message, ToolCall

_BEGIN, _END = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
_ONE_BEGIN, _ONE_END = "<\uff5ctool\u2581call\u2581begin\uff5c>", "<\uff5ctool\u2581call\u2581end\uff5c>"
_V3 = re.compile(r"function<\uff5ctool\u2581sep\uff5c>([^\n<]+)\n```json\n(.*)\n```", re.DOTALL)
_V31 = re.compile(r"([^\n<]+)<\uff5ctool\u2581sep\uff5c>(.*)", re.DOTALL)
_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_MISTRAL_V11 = re.compile(r"([^\s\[\]{}]+)(?:\[CALL_ID\]([^\[]*))?\[ARGS\](.*)", re.DOTALL)
_RECIPIENT = re.compile(r">>>([^\s>{]+)\n")
_NEXT_RECIPIENT = re.compile(r">>>[^\s>{]+\n(?=\{)")
_NOT_NINE = "has an id that is not nine letters or digits"


def deepseek_v3_calls(text: str) -> ParsedAnswer:
    """Read the calls of DeepSeek V3 and R1."""
    return _deepseek(text, _V3, "is not a function's name before a fence of JSON")


def deepseek_v31_calls(text: str) -> ParsedAnswer:
    """Read the calls of DeepSeek V3.1."""
    return _deepseek(text, _V31, "is not a function's name before its arguments")


def _deepseek(text: str, pattern: re.Pattern[str], otherwise: str) -> ParsedAnswer:
    words, mark, rest = text.partition(_BEGIN)
    if not mark:
        alone = next((mark for mark in (_END, _ONE_BEGIN, _ONE_END) if mark in text), "")
        return ParsedAnswer(None if alone else Message("assistant", text.strip()), alone and f"{alone} stands alone")
    block, mark, after = rest.partition(_END)
    place = f"the calls at character {len(words)}"
    if not mark:
        return ParsedAnswer(None, f"{place} are not closed")
    if after.strip():
        return ParsedAnswer(None, f"{place} are followed by {shortened(after.strip())}")
    calls: list[ToolCall] = []
    *blocks, rest = block.split(_ONE_END)
    for number, block in enumerate(blocks):
        between, mark, written = block.partition(_ONE_BEGIN)
        match = pattern.fullmatch(written)
        if not mark or between.strip() or not match:
            return ParsedAnswer(None, f"call {number} of {place} {otherwise}")
        call = json_call(match[1], match[2])
        if isinstance(call, str):
            return ParsedAnswer(None, f"call {number} of {place} {call}")
        calls.append(call)
    if rest.strip() or not calls:
        return ParsedAnswer(None, f"{place} hold {shortened(rest.strip()) if rest.strip() else 'none'}")
    return ParsedAnswer(Message("assistant", words.strip(), tuple(calls)))


def mistral_calls(text: str) -> ParsedAnswer:
    """Read the calls of Mistral's templates from v3 to v10: a list of JSON behind the words of the answer."""
    return _list_behind(text, "[TOOL_CALLS]", "", _mistral_call)


def granite_calls(text: str) -> ParsedAnswer:
    """Read the calls of Granite 3, and of Phi 4 mini, which closes the list with a mark."""
    return _list_behind(text, "<|tool_call|>", "<|/tool_call|>", _plain_call)


def _list_behind(text: str, mark: str, closing: str, read: Any) -> ParsedAnswer:
    words, found, block = text.partition(mark)
    if not found:
        alone = closing if closing and closing in text else ""
        return ParsedAnswer(None if alone else Message("assistant", text.strip()), alone and f"{alone} stands alone")
    place = f"the list of calls at character {len(words)}"
    if mark in block:
        return ParsedAnswer(None, f"{place} is followed by another {mark}")
    block = block.strip().removesuffix(closing)
    values = json_value(block)
    if isinstance(values, DataError):
        return ParsedAnswer(None, f"{place} cannot be read: {values}")
    if not isinstance(values, list) or not values:
        return ParsedAnswer(None, f"{place} is no list with a call in it")
    calls: list[ToolCall] = []
    for number, value in enumerate(values):
        call = read(value) if isinstance(value, dict) else "is no object"
        if isinstance(call, str):
            return ParsedAnswer(None, f"call {number} of {place} {call}")
        calls.append(call)
    return ParsedAnswer(Message("assistant", words.strip(), tuple(calls)))


def _plain_call(value: dict[str, Any]) -> ToolCall | str:
    if extra := value.keys() - {"name", "arguments"}:
        return f"has {shortened(min(extra))} beside a name and arguments"
    return make_call(value.get("name"), value.get("arguments"))


def _mistral_call(value: dict[str, Any]) -> ToolCall | str:
    identity = value.pop("id", "000000000")
    if not isinstance(identity, str) or not _MISTRAL_ID.fullmatch(identity):
        return _NOT_NINE
    return _plain_call(value)


def mistral_v11_calls(text: str) -> ParsedAnswer:
    """Read the calls of Mistral's templates from v11 on: each has its own mark, and a mark before its arguments."""
    words, *blocks = text.split("[TOOL_CALLS]")
    if not blocks and (alone := next((mark for mark in ("[ARGS]", "[CALL_ID]") if mark in text), None)):
        return ParsedAnswer(None, f"{alone} stands without [TOOL_CALLS]")
    calls: list[ToolCall] = []
    for number, block in enumerate(blocks):
        match = _MISTRAL_V11.fullmatch(block.strip())
        if not match:
            return ParsedAnswer(None, f"call {number} is not a name, [ARGS] and arguments")
        is_named_well = match[2] is None or _MISTRAL_ID.fullmatch(match[2])
        call = json_call(match[1], match[3]) if is_named_well else _NOT_NINE
        if isinstance(call, str):
            return ParsedAnswer(None, f"call {number} {call}")
        calls.append(call)
    return ParsedAnswer(Message("assistant", words.strip(), tuple(calls)))


def functionary_v3_calls(text: str) -> ParsedAnswer:
    """Read the calls of functionary 3.2: who is spoken to stands before each part, `all` being the user."""
    text = text if text.startswith(">>>") else f">>>{text}"
    calls: list[ToolCall] = []
    words: list[str] = []
    place = 0
    while place < len(text):
        match = _RECIPIENT.match(text, place)
        if not match:
            return ParsedAnswer(None, f"the part at character {place} does not say for whom it is")
        if match[1] == "all":
            following = _NEXT_RECIPIENT.search(text, match.end())
            end = following.start() if following else len(text)
            words.append(text[match.end() : end])
        else:
            end = _end_of_json(text, match.end())
            call = json_call(match[1], text[match.end() : end])
            if isinstance(call, str):
                return ParsedAnswer(None, f"the call at character {place} {call}")
            calls.append(call)
        place = end
    return ParsedAnswer(Message("assistant", "\n".join(words).strip(), tuple(calls)))


def _end_of_json(text: str, place: int) -> int:
    """Return where a value of JSON ends; the text's end where there is none."""
    try:
        return json.JSONDecoder().raw_decode(text, place)[1]
    except (ValueError, RecursionError):
        return len(text)
