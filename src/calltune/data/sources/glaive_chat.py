"""Glaive's own layout: `system`, a text that ends with tools as JSON, and `chat`, a text of marked turns.

Layout: glaiveai/glaive-function-calling-v2 as of 2024-02: `USER:`, `ASSISTANT:` and `FUNCTION RESPONSE:` begin turns,
`<|endoftext|>` ends the assistant's, and a call is `<functioncall> {"name": ..., "arguments": '{...}'}`, its arguments
JSON text in single quotes.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from calltune.calling.call_text import glaive_call
from calltune.data.sources.conversations import read_tools
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Tool

_MARK = re.compile(r"(?:^|\n)[ \t]*(USER|ASSISTANT|FUNCTION RESPONSE):")
_KINDS = {"USER": "human", "ASSISTANT": "gpt", "FUNCTION RESPONSE": "observation"}


def is_glaive(row: Mapping[str, Any]) -> bool:
    """Return whether a row is in Glaive's own layout."""
    return "chat" in row and "conversations" not in row


def glaive_conversation(row: Mapping[str, Any], where: str) -> tuple[list[tuple[str, str, Any]], tuple[Tool, ...]]:
    """Return a row's turns in ShareGPT's words (place, kind, value), and its tools.

    Raises:
        DataError: a field is missing, or the tools or a call cannot be read.
    """
    system, chat = require(row, "system", str, where), require(row, "chat", str, where)
    parts = _MARK.split(chat)
    if parts[0].strip():
        raise DataError(f"{where}: 'chat' must begin with USER: or ASSISTANT:")
    turns: list[tuple[str, str, Any]] = []
    for number, (mark, text) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
        place, kind = f"{where}: chat, turn {number}", _KINDS[mark]
        text = text.replace("<|endoftext|>", "").strip()
        before, called, call = text.partition("<functioncall>")
        if kind == "gpt" and called:
            turns.append((place, "gpt", f"{before.strip()}<tool_call>{glaive_call(call.strip())}</tool_call>"))
        else:
            turns.append((place, kind, text))
    return turns, _tools(system, f"{where}: system")


def _tools(system: str, where: str) -> tuple[Tool, ...]:
    """Return the tools that are written as JSON objects, one after another, from the first brace on."""
    start, texts = system.find("{"), list[Any]()
    while start >= 0:
        try:
            _, end = json.JSONDecoder(parse_int=str).raw_decode(system, start)
        except (json.JSONDecodeError, RecursionError):
            raise DataError(f"{where}: the tool at character {start} is not JSON") from None
        texts.append(system[start:end])
        start = system.find("{", end)
    return read_tools(texts, where)
