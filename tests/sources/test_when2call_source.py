import json
from itertools import islice
from pathlib import Path

import pytest

from calltune.errors import DataError
from calltune.sources import when2call
from calltune.types import Example, Message, Preference, ToolCall

TOOL = {
    "name": "t",
    "description": "d",
    "parameters": {"type": "dict", "properties": {"a": {"type": "int"}}},
    "required": ["a"],
}
CALL = '<TOOLCALL>[{"name": "t", "arguments": {"a": 1}}]</TOOLCALL>'


def user(content: str) -> dict:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict:
    return {"role": "assistant", "content": content}


def read(folder: Path, rows: list, split: str = "train_sft", **settings) -> list:
    file = folder / f"{split}.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return list(when2call.read(when2call.Settings(path=str(file), split=split, **settings)))


def test_examples(tmp_path: Path) -> None:
    rows = [
        {"tools": [TOOL], "messages": [user("q"), assistant(CALL)]},
        {"tools": [json.dumps(TOOL)], "messages": [user("q"), assistant("Which a?"), user("1"), assistant("I can't.")]},
    ]
    first, second = read(tmp_path, rows)
    assert isinstance(first, Example)
    assert first.messages[-1] == Message("assistant", "", (ToolCall("t", {"a": 1}),))
    assert first.behavior == "tool_call"
    assert first.tools == second.tools
    assert first.tools[0].parameters["required"] == ["a"]
    assert (first.id, second.id, second.behavior) == ("train_sft:1", "train_sft:2", "cannot_answer")


def test_preferences(tmp_path: Path) -> None:
    row = {
        "tools": [],
        "messages": [user("q")],
        "chosen_response": assistant("Which?"),
        "rejected_response": assistant(CALL),
    }
    (pair,) = read(tmp_path, [row], split="train_pref")
    assert isinstance(pair, Preference)
    assert pair.behavior == "request_for_info"
    assert pair.rejected.tool_calls[0].name == "t"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tools": []}, "'messages' is missing"),
        ({"messages": [user("q")]}, "'messages' must end with the assistant's answer"),
        ({"messages": [user("q"), assistant("a")]}, "'tools' is missing"),
        ({"tools": [], "messages": []}, "'messages' is empty"),
        ({"tools": [], "messages": ["q"]}, r"messages\[0\]: a message must be an object"),
        ({"tools": [], "messages": [{"role": "robot", "content": ""}]}, "'role' must be one of"),
        ({"tools": [], "messages": [user("q"), {"role": "assistant"}]}, r"messages\[1\]: 'content' is missing"),
        ({"tools": [], "messages": [user("q"), assistant("<TOOLCALL>[")]}, "not closed"),
        ({"tools": [], "messages": [user("q"), assistant("<TOOLCALL>[]</TOOLCALL>")]}, "holds no call"),
        ({"tools": [], "messages": [user("q"), assistant("<TOOLCALL>x</TOOLCALL>")]}, "<TOOLCALL>: not valid JSON"),
        (
            {"tools": [], "messages": [user("q"), assistant('<TOOLCALL>[{"name": "t"}]</TOOLCALL>')]},
            "'arguments' is missing",
        ),
        ({"tools": [{}], "messages": [user("q"), assistant("a")]}, r"tools\[0\]: 'name' is missing"),
        ("{broken", "not valid JSON"),
    ],
)
def test_a_broken_row_names_file_line_and_field(tmp_path: Path, row: object, message: str) -> None:
    good = {"tools": [], "messages": [user("q"), assistant("a")]}
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, [good, row])
    assert str(error.value).startswith(f"{tmp_path / 'train_sft.jsonl'}:2: ")


def test_where_the_rows_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data file"):
        read_path(str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match=r"holds neither train_sft\.jsonl nor"):
        read_path(str(tmp_path))
    published = tmp_path / "train"
    published.mkdir()
    (published / "when2call_train_sft.jsonl").write_text(
        json.dumps({"tools": [], "messages": [user("q"), assistant("a")]})
    )
    assert len(read_path(str(tmp_path))) == 1
    with pytest.raises(DataError, match="the Hub did not give it"):
        read_path("calltune/there-is-no-such-data")


def read_path(path: str) -> list:
    return list(when2call.read(when2call.Settings(path=path, split="train_sft")))


def test_real_rows(shared_data: Path) -> None:
    folder = str(shared_data / "when2call")
    examples = list(islice(when2call.read(when2call.Settings(path=folder, split="train_sft")), 3000))
    labels = [
        json.loads(line)["decision"]
        for line in (shared_data / "when2call/train_sft.meta.jsonl").read_text().splitlines()
    ]
    assert len(examples) == 3000
    assert all(
        (e.behavior == "tool_call") == (label == "tool_call") for e, label in zip(examples, labels, strict=False)
    )
    assert not any("<TOOLCALL>" in m.content for e in examples for m in e.messages)
    pairs = list(islice(when2call.read(when2call.Settings(path=folder, split="train_pref")), 1000))
    assert len(pairs) == 1000
