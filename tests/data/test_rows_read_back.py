"""Rows of a run's folder that somebody altered, or another version wrote, are one line when they are read back."""

import json
from pathlib import Path
from typing import Any

import pytest

from calltune.data.rows import read_examples, read_preferences, training_row
from calltune.errors import DataError
from calltune.types import Example, Message, Preference, Tool, ToolCall

TOOLS = (Tool("book", "Books.", {"type": "object", "properties": {}}),)
ASKED = Message("user", "Book it.")
CALLED = Message("assistant", "", (ToolCall("book", {}),))
EXAMPLE = Example("a", "toy", (ASKED, CALLED), TOOLS, "tool_call")
PAIR = Preference("b", "toy", (ASKED,), TOOLS, CALLED, Message("assistant", "No."), "tool_call")
READERS = {"example": (EXAMPLE, read_examples), "pair": (PAIR, read_preferences)}


def changes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every place in a row, with None for one that is missing and then with values of other kinds."""
    found = []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        found += [((*path, key), other) for other in (..., 7, ["x"], {"x": 1})]
        found += changes(part, (*path, key))
    return found


def changed(row: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    row = json.loads(json.dumps(row))
    place: Any = row
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return row


@pytest.mark.parametrize("kind", READERS)
def test_a_row_is_read_or_one_line(kind: str, tmp_path: Path) -> None:
    noun, read = READERS[kind]
    row, file, problems = training_row(noun), tmp_path / "rows.jsonl", list[str]()
    file.write_text(json.dumps(row) + "\n")
    assert read(file) == [noun]
    cases = changes(row)
    tools = [json.dumps(changed({"t": json.loads(row["tools"])}, ("t", *path), value)["t"]) for path, value in
             changes(json.loads(row["tools"]))]  # fmt: skip
    rows = [changed(row, path, value) for path, value in cases]
    for other in [*rows, *({**row, "tools": text} for text in [*tools, "{", "7", '"x"'])]:
        file.write_text(json.dumps(row) + "\n" + json.dumps(other) + "\n")
        try:
            read(file)
        except DataError as error:
            problems.append(str(error))
    assert len(problems) > 60
    for line in problems:
        assert line.startswith(f"{file}:2: ")
        assert line.endswith("; run the stage that wrote it again")
        assert "\n" not in line
    file.write_text(json.dumps({**row, "behavior": "of_tomorrow"}) + "\n")
    with pytest.raises(DataError, match=r":1: 'behavior' must be one of direct, .*, not 'of_tomorrow'; run the stage"):
        read(file)
