import json
from pathlib import Path

import pytest
from rows_of import read, read_one

from calltune.data.sources import xlam
from calltune.types import Example, Message, Rejected, ToolCall

TOOLS = [
    {
        "name": "live",
        "description": "d",
        "parameters": {
            "city": {"type": "str", "description": "c"},
            "days": {"type": "int, optional", "default": "3"},
            "tags": {"type": "List[str]", "default": ""},
        },
    }
]
CALLS = [{"name": "live", "arguments": {"city": c}} for c in ("Bonn", "Ulm")]


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_row_is_a_question_and_its_calls(tmp_path: Path, as_text: bool, name: str) -> None:
    write = json.dumps if as_text else list
    row = {"id": 7, "query": "q", "tools": write(TOOLS), "answers": write(CALLS)}
    first, second = read(xlam, tmp_path / name, [row, row])
    assert isinstance(first, Example)
    assert (first.id, second.id) == (f"{tmp_path / name}:1", f"{tmp_path / name}:2")
    calls = tuple(ToolCall("live", {"city": city}) for city in ("Bonn", "Ulm"))
    assert first.messages == (Message("user", "q"), Message("assistant", "", calls))
    assert first.behavior == "tool_call"
    assert first.tools[0].parameters["properties"] == {
        "city": {"type": "string", "description": "c"},
        "days": {"type": "integer", "default": 3},
        "tags": {"type": "array", "items": {"type": "string"}, "default": ""},
    }


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"query": None}, "'query' must be str, not NoneType"),
        ({"answers": "[]"}, "'answers' must be a list of calls, and hold one"),
        ({"answers": "[{'name': 'live'}]"}, "answers: not valid JSON"),
        ({"answers": [{"name": "live"}]}, "answers[0]: 'arguments' is missing"),
        ({"tools": "{"}, "tools: not valid JSON"),
        ({"tools": [{}]}, "tools[0]: 'name' is missing"),
        ({"tools": 3}, "'tools' must be list or str, not int"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, changed: dict, reason: str) -> None:
    file = tmp_path / "rows.jsonl"
    rejected = read_one(xlam, file, {"query": "q", "tools": TOOLS, "answers": CALLS, **changed})
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(f"{file}:1: {reason}")
