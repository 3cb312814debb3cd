"""Toy rows that several tests of sources write."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

from calltune.types import Example, Preference, Rejected

TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Find it.",
        "parameters": {
            "type": "object",
            "properties": {"what": {"type": "string"}, "where": {"type": "string"}},
            "required": ["what"],
        },
    },
}


def user(content: Any = "q") -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = "a", **beside: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **beside}


def call(what: str, id: str = "c1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "find", "arguments": json.dumps({"what": what})}}


def result(content: str, id: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def read(source: ModuleType, file: Path, rows: list[Any], **settings: Any) -> list[Example | Preference | Rejected]:
    """What a source makes of rows written to a file: a JSON array if its name ends in .json, else JSON lines."""
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text(f"[{','.join(texts)}]" if file.suffix == ".json" else "\n".join(texts))
    return list(source.read(source.Settings(path=str(file), **settings)))


def read_one(source: ModuleType, file: Path, row: Any, **settings: Any) -> Any:
    (noun,) = read(source, file, [row], **settings)
    return noun
