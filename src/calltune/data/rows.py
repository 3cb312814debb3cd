"""Training rows on disk, in TRL's layout, and read back."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from calltune.calling.layout import TEMPLATE_KEYS, message_dicts, tool_dict
from calltune.files.json_lines import read_own_jsonl
from calltune.types import Example, Message, Preference, Tool, ToolCall


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
    tools = (
        json.dumps([tool_dict(tool) for tool in row.tools], ensure_ascii=False, allow_nan=False) if row.tools else None
    )
    return {
        "id": row.id,
        "source": row.source,
        "behavior": row.behavior,
        "parent": row.parent,
        "rule": row.rule,
        **conversation,
        "tools": tools,
        "chat_template_kwargs": TEMPLATE_KEYS,
    }


def read_examples(path: Path) -> list[Example]:
    """The rows of `data/train.jsonl` as `prepare` wrote them."""
    return [example_from(row) for _, row in read_own_jsonl(path)]


def read_preferences(path: Path) -> list[Preference]:
    """The rows of `data/preferences.jsonl` as `prepare` wrote them."""
    return [preference_from(row) for _, row in read_own_jsonl(path)]


def example_from(row: Mapping[str, Any]) -> Example:
    """An `Example` from its `training_row`."""
    return Example(
        row["id"],
        row["source"],
        _conversation_from(row["messages"]),
        _tools_from(row["tools"]),
        behavior=row["behavior"],
        parent=row["parent"],
        rule=row["rule"],
    )


def preference_from(row: Mapping[str, Any]) -> Preference:
    """A `Preference` from its `training_row`."""
    (chosen,), (rejected,) = _conversation_from(row["chosen"]), _conversation_from(row["rejected"])
    return Preference(
        row["id"],
        row["source"],
        prompt=_conversation_from(row["prompt"]),
        tools=_tools_from(row["tools"]),
        chosen=chosen,
        rejected=rejected,
        behavior=row["behavior"],
        parent=row["parent"],
        rule=row["rule"],
    )


def _conversation_from(rows: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    return tuple(
        Message(
            row["role"],
            row["content"],
            tuple(ToolCall(call["function"]["name"], call["function"]["arguments"]) for call in _calls(row)),
        )
        for row in rows
    )


def _calls(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    # Left out where there are none: Llama's template asks whether the key is there.
    return row.get("tool_calls") or []


def _tools_from(text: str | None) -> tuple[Tool, ...]:
    functions = [tool["function"] for tool in json.loads(text)] if text else []
    return tuple(Tool(f["name"], f["description"], f["parameters"]) for f in functions)
