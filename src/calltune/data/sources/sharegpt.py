"""ShareGPT's layout, `conversations` of `from` and `value`, as LLaMA-Factory, Hermes and Glaive write calls in it.

A call stands in a turn of its own (`function_call`, whose value is a call or a list of them), or as Hermes' text inside
the assistant's (`<tool_call>{...}</tool_call>`). A result stands in a turn of `observation` or `tool`. The tools are
the row's `tools`, a list or its JSON text, or stand between `<tools>` and `</tools>` in the system's text. A row of
`system` and `chat` is Glaive's, see `glaive_chat`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calltune.calling.calls import parse_answer
from calltune.calling.edits import Change, tell
from calltune.calling.strict_json import parse_literal, parse_value, shortened
from calltune.data.sources.chat_messages import read_call
from calltune.data.sources.conversations import ConversationSettings, answers_of, read_tools
from calltune.data.sources.files import Noun, files_fingerprint, nouns_of, read_rows
from calltune.data.sources.glaive_chat import glaive_conversation, is_glaive
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Message, Tool, ToolCall

_CALLERS = ("function_call", "tool_call")
_ASSISTANTS = ("gpt", "assistant", "chatgpt", "model", *_CALLERS)
_RESULTS = ("observation", "tool", "tool_response", "function_response", "function")
_USERS = ("human", "user")
_TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_RESPONSE = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)


class Settings(ConversationSettings):
    """The keys of a `sharegpt` source."""


def read(settings: Settings) -> Iterator[Noun]:
    """Yield an example of each answer, and what cannot be used.

    Raises:
        DataError: a file is missing or not JSON as a whole.
    """

    def parse(row: dict[str, Any], where: str) -> Iterator[Noun]:
        if is_glaive(row):
            turns, tools = glaive_conversation(row, where)
        else:
            turns = _turns(row, where)
            tools, turns = _tools_and_turns(row, turns, where)
        num_answers = sum(kind in _ASSISTANTS for _, kind, _ in turns)
        place = ("sharegpt", where, row)
        yield from answers_of(_messages(turns), tools, settings.turns, num_answers, place)

    return nouns_of(read_rows(settings.path), "sharegpt", parse)


def fingerprint(settings: Settings) -> str:
    """Return the hash of the files."""
    return files_fingerprint(settings.path)


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """None: all of its rows are trained on."""
    return iter(())


def _turns(row: Mapping[str, Any], where: str) -> list[tuple[str, str, Any]]:
    """Return each turn's place, kind and value."""
    turns: list[tuple[str, str, Any]] = []
    if row.get("system"):
        turns.append((f"{where}: system", "system", row["system"]))
    for number, turn in enumerate(require(row, "conversations", list, where)):
        place = f"{where}: conversations[{number}]"
        if not isinstance(turn, dict):
            raise DataError(f"{place}: a turn must be an object, not {type(turn).__name__}")
        named = ("role", "content") if "role" in turn and "from" not in turn else ("from", "value")
        turns.append((place, require(turn, named[0], str, place), turn.get(named[1])))
    return turns


def _tools_and_turns(
    row: Mapping[str, Any], turns: Sequence[tuple[str, str, Any]], where: str
) -> tuple[tuple[Tool, ...], list[tuple[str, str, Any]]]:
    """Return the tools, and the turns without the text that offered them in one model's format."""
    tools = read_tools(row.get("tools"), f"{where}: tools")
    kept: list[tuple[str, str, Any]] = []
    for place, kind, value in turns:
        blocks = _TOOLS.findall(value) if kind == "system" and isinstance(value, str) and "</tools>" in value else []
        blocks = [block for block in blocks if block.strip().startswith(("[", "{"))]
        if not blocks:
            kept.append((place, kind, value))
            continue
        if not tools:
            tools = tuple(tool for block in blocks for tool in _offered(block, f"{place}: <tools>"))
        # What follows explains one model's way to write calls, which must not be taught to another.
        kept_text = re.split(r"# Tools\b|[^.\n]*<tools>", value, maxsplit=1)[0]
        kept_text = re.sub(r"^\s*You are a function calling AI model\.\s*$", "", kept_text).strip()
        tell(place, "system", (Change("text_dropped", "replace", "/value", value, kept_text),))
        if kept_text:
            kept.append((place, kind, kept_text))
    return tools, kept


def _offered(block: str, where: str) -> tuple[Tool, ...]:
    """Return the tools of one block, which is a JSON list, or holds one object on each line."""
    lines = [line for line in block.splitlines() if line.strip()]
    listed = parse_literal(block, where) if block.strip().startswith("[") else [parse_literal(x, where) for x in lines]
    return read_tools(listed, where)


def _messages(turns: Sequence[tuple[str, str, Any]]) -> Iterator[tuple[Message, bool]]:
    for place, kind, value in turns:
        if kind in _CALLERS:
            yield Message("assistant", "", _calls(value, place)), True
            continue
        if not isinstance(value, str):
            raise DataError(f"{place}: 'value' must be str, not {type(value).__name__}")
        if kind in _ASSISTANTS:
            yield _answer(value, place), True
        elif kind in _RESULTS:
            for text in (_RESPONSE.findall(value) if "</tool_response>" in value else []) or [value]:
                yield Message("tool", text.strip()), False
        elif kind in _USERS:
            yield Message("user", value), False
        elif kind == "system":
            yield Message("system", value), False
        else:
            raise DataError(f"{place}: 'from' is {shortened(kind)}, which is nobody known")


def _answer(text: str, where: str) -> Message:
    """Return the assistant's words and Hermes calls. Some Hermes rows spell a call as Python does."""

    def strict(block: re.Match[str]) -> str:
        call = parse_literal(block[1].strip(), f"{where}: <tool_call>")
        return f"<tool_call>{json.dumps(call, allow_nan=False)}</tool_call>"

    # The search stops at the last end of a call, because looking for ends that are not there takes the square of the
    # text's length.
    called, end, rest = text.rpartition("</tool_call>")
    answer = parse_answer(_CALL.sub(strict, called + end) + rest, "hermes")
    if answer.message is None:
        raise DataError(f"{where}: {answer.reason}")
    return answer.message


def _calls(value: Any, where: str) -> tuple[ToolCall, ...]:
    calls = parse_value(value, f"{where}: value") if isinstance(value, str) else value
    calls = calls if isinstance(calls, list) else [calls]
    if not calls:
        raise DataError(f"{where}: 'value' holds no call")
    return tuple(read_call(call, f"{where}: value") for call in calls)
