import json
import re
from itertools import islice
from pathlib import Path

import datasets
import pytest

from calltune.config.table import parse_options
from calltune.data.sources import when2call
from calltune.errors import ConfigError, DataError
from calltune.types import Example, Message, Preference, Rejected, ToolCall

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


def places(folder: Path, *lines: int) -> list[str]:
    return [f"{folder / 'train_sft.jsonl'}:{line}" for line in lines]


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
    assert (first.id, second.id, second.behavior) == (*places(tmp_path, 1, 2), "cannot_answer")


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
        ({"tools": [], "messages": [user("q")]}, "'messages' must end with the assistant's answer"),
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
    first, broken, last = read(tmp_path, [good, row, good])
    assert (first.id, broken.id, last.id) == tuple(places(tmp_path, 1, 2, 3))
    assert isinstance(broken, Rejected)
    assert (broken.source, broken.row) == ("when2call", row)
    assert re.match(f"{re.escape(broken.id)}: .*{message}", broken.reason)


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


def test_the_test_is_never_trained_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'split': .*benchmark's questions"):
        parse_options(when2call.Settings, {"split": "test"}, "run.toml")
    with pytest.raises(DataError, match=r"train_sft\.jsonl:1: these are the benchmark's questions"):
        read(tmp_path, [{"uuid": "1", "question": "q", "correct_answer": "direct", "answers": {}, "tools": []}])


def test_the_hub_s_rows_come_through_arrow_unpadded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow gives every tool of a file the properties of all; a mirror of the Hub's files is streamed as the Hub is."""
    tools = [
        {"name": "t", "description": "d", "parameters": {"type": "dict", "properties": {"a": {"type": "int"}}}},
        {
            **{"name": "u", "description": "d", "required": ["b"]},
            "parameters": {"type": "dict", "properties": {"b": {"type": "str", "enum": ["x"], "default": "x"}}},
        },
    ]
    rows = [{"tools": [tool], "messages": [user("q"), assistant("Which?")]} for tool in tools]
    train = tmp_path / "train"
    train.mkdir()
    (train / "when2call_train_sft.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: train_sft\n  data_files:\n  - split: train\n"
        "    path: train/when2call_train_sft.jsonl\n---\n"
    )
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda path, *names, **keys: load(str(tmp_path), *names, **keys))
    examples = list(when2call.read(when2call.Settings(split="train_sft")))
    assert [e.id for e in examples] == ["nvidia/When2Call/train_sft:1", "nvidia/When2Call/train_sft:2"]
    local = list(when2call.read(when2call.Settings(path=str(tmp_path), split="train_sft")))
    assert [e.tools for e in examples] == [e.tools for e in local]
    assert list(examples[0].tools[0].parameters["properties"]) == ["a"]


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
