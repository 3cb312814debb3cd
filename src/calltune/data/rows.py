"""Training rows on disk, in TRL's layout, and read back."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from calltune.calling.identity import OncePerObject
from calltune.calling.layout import TEMPLATE_KEYS, THINKING_KEYS, message_dicts, tool_dict
from calltune.calling.thoughts import have_thoughts
from calltune.errors import DataError
from calltune.files.json_lines import read_own_jsonl, require
from calltune.types import BEHAVIORS, Example, Message, Preference, Tool, ToolCall

Row = TypeVar("Row", Example, Preference)


def training_row(row: Example | Preference) -> dict[str, Any]:
    """A row as `data/*.jsonl` holds it, which any trainer built on TRL reads as it stands.

    Arrow gives every object of a column the keys of all. So `tools` is JSON text (TRL 1.16 parses it), or null where
    there is none, as an empty list makes Llama's template announce tools; arguments stay objects, as most templates
    would quote text twice, and survive because datasets 5 sees in a file's first rows that its messages differ
    (`prepare` puts one of each shape there).
    """
    if isinstance(row, Example):
        conversation: dict[str, Any] = {"messages": message_dicts(row.messages)}
    else:
        prompt = message_dicts(row.prompt)
        chosen, rejected = (message_dicts((*row.prompt, answer))[-1:] for answer in row.answers)
        conversation = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    tools = f"[{', '.join(map(_tool_text, row.tools))}]" if row.tools else None
    return {
        "id": row.id,
        "source": row.source,
        "behavior": row.behavior,
        "parent": row.parent,
        "rule": row.rule,
        **conversation,
        "tools": tools,
        "chat_template_kwargs": THINKING_KEYS if have_thoughts(row.answers) else TEMPLATE_KEYS,
    }


_tool_text = OncePerObject[str](lambda tool: json.dumps(tool_dict(tool), ensure_ascii=False, allow_nan=False))


def read_examples(path: Path) -> list[Example]:
    """The rows of `data/train.jsonl` as `prepare` wrote them.

    Raises:
        DataError: a row is damaged, or is none: file, line and field.
    """
    return _read(path, example_from)


def read_preferences(path: Path) -> list[Preference]:
    """The rows of `data/preferences.jsonl` as `prepare` wrote them, or of `pairs.jsonl` as `mine` did.

    Raises:
        DataError: a row is damaged, or is none: file, line and field.
    """
    return _read(path, preference_from)


def _read(path: Path, read: Callable[[Mapping[str, Any], str], Row]) -> list[Row]:
    """The rows of a file of our own, which somebody may have altered, or another version of calltune have written."""
    try:
        return [read(row, where) for where, row in read_own_jsonl(path)]
    except DataError as error:
        raise DataError(f"{error}; run the stage that wrote it again") from None


def example_from(row: Mapping[str, Any], where: str = "a row") -> Example:
    """An `Example` from its `training_row`.

    Raises:
        DataError: a field is missing or of another kind; the message begins with `where`.
    """
    return Example(
        *_origin(row, where),
        messages=_conversation_from(row, "messages", where),
        tools=_tools_from(row, where),
        behavior=_behavior(row, where),
        **_parent(row, where),
    )


def preference_from(row: Mapping[str, Any], where: str = "a row") -> Preference:
    """A `Preference` from its `training_row`.

    Raises:
        DataError: a field is missing or of another kind; the message begins with `where`.
    """
    chosen, rejected = (_conversation_from(row, name, where) for name in ("chosen", "rejected"))
    if len(chosen) != 1 or len(rejected) != 1:
        raise DataError(f"{where}: 'chosen' and 'rejected' must be one message each")
    return Preference(
        *_origin(row, where),
        prompt=_conversation_from(row, "prompt", where),
        tools=_tools_from(row, where),
        chosen=chosen[0],
        rejected=rejected[0],
        behavior=_behavior(row, where),
        **_parent(row, where),
    )


def _origin(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    return require(row, "id", str, where), require(row, "source", str, where)


def _parent(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {name: require(row, name, str, where) for name in ("parent", "rule")}


def _behavior(row: Mapping[str, Any], where: str) -> Any:
    behavior = require(row, "behavior", str, where)
    if behavior not in BEHAVIORS:
        raise DataError(f"{where}: 'behavior' must be one of {', '.join(BEHAVIORS)}, not '{behavior[:200]}'")
    return behavior


def _conversation_from(row: Mapping[str, Any], key: str, where: str) -> tuple[Message, ...]:
    messages = require(row, key, list, where)
    return tuple(_message_from(message, f"{where}: {key}[{number}]") for number, message in enumerate(messages))


def _message_from(message: Any, where: str) -> Message:
    table = _object(message, where)
    # Left out where there are none: Llama's template asks whether the key is there.
    calls = table.get("tool_calls") or []
    if not isinstance(calls, list):
        raise DataError(f"{where}: 'tool_calls' must be list, not {type(calls).__name__}")
    role, content = require(table, "role", str, where), require(table, "content", str, where)
    # Left out where there is none, too.
    thought = require(table, "reasoning_content", str, where) if table.get("reasoning_content") else ""
    read = tuple(_call_from(call, f"{where}.tool_calls[{n}]") for n, call in enumerate(calls))
    return Message(role, content, read, thought)


def _call_from(call: Any, where: str) -> ToolCall:
    function = require(_object(call, where), "function", dict, where)
    return ToolCall(require(function, "name", str, where), require(function, "arguments", dict, where))


def _tools_from(row: Mapping[str, Any], where: str) -> tuple[Tool, ...]:
    text = require(row, "tools", (str, type(None)), where)
    try:
        tools = json.loads(text) if text else []
    except (ValueError, RecursionError):
        raise DataError(f"{where}: 'tools' is not JSON") from None
    if not isinstance(tools, list):
        raise DataError(f"{where}: 'tools' must be a list")
    return tuple(_tool_from(tool, f"{where}: tools[{number}]") for number, tool in enumerate(tools))


def _tool_from(tool: Any, where: str) -> Tool:
    function = require(_object(tool, where), "function", dict, where)
    name, description = (require(function, key, str, where) for key in ("name", "description"))
    return Tool(name, description, require(function, "parameters", dict, where))


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: a JSON object was expected, not {type(value).__name__}")
    return value
