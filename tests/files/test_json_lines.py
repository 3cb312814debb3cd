import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from not_strict import NAMES, NOT_STRICT

from calltune.data.rows import read_examples, read_preferences, training_row
from calltune.errors import DataError, RunFolderError
from calltune.evaluation.answers import completion_from, score_from
from calltune.files.json_lines import (
    read_appended,
    read_json,
    read_jsonl,
    read_own_jsonl,
    require,
    to_json,
    write_json,
    write_jsonl,
)
from calltune.types import Completion, Example, Message, Preference, Score, Tool, ToolCall

TOOL = Tool("t", "d", {"type": "object", "properties": {"a": {"type": "string"}}})
CALL = Message("assistant", "", (ToolCall("t", {"a": "ü", "b": [1, None]}),))


def test_nouns_come_back_equal(tmp_path: Path) -> None:
    example = Example("1", "s", (Message("user", "q"), CALL), (TOOL,), "tool_call")
    preference = Preference("2", "s", (Message("user", "q"),), (TOOL,), CALL, Message("assistant", "x"), "tool_call")
    assert write_jsonl(tmp_path / "e.jsonl", [training_row(example)]) == 1
    write_jsonl(tmp_path / "p.jsonl", [training_row(preference)])
    assert read_examples(tmp_path / "e.jsonl") == [example]
    assert read_preferences(tmp_path / "p.jsonl") == [preference]
    for completion in (
        Completion("1", CALL, "text", "ok"),
        Completion("1", None, "text", "malformed", reason="why"),
        Completion("1", None, "", "ok", {"a": -1.5}, {"a": 3}),
    ):
        assert completion_from(json.loads(to_json(completion))) == completion
    score = Score("1", None, "error", "why")
    assert score_from(json.loads(to_json(score))) == score


def test_what_a_model_said_survives_in_our_own_files(tmp_path: Path) -> None:
    rows = [{"a": "\ud800"}, {"b": -math.inf}]
    write_jsonl(tmp_path / "r.jsonl", rows[:1])
    # As older versions wrote it.
    with (tmp_path / "r.jsonl").open("a") as file:
        file.write('{"b": -Infinity}\n')
    assert [row for _, row in read_own_jsonl(tmp_path / "r.jsonl")] == read_appended(tmp_path / "r.jsonl") == rows


@pytest.mark.parametrize(("text", "message"), NOT_STRICT, ids=NAMES)
def test_what_comes_from_outside_is_read_strictly(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"a": 1}}\n\n{{"a": [{text}]}}\n')
    with pytest.raises(DataError) as error:
        list(read_jsonl(file))
    assert str(error.value).startswith(f"{file}:3: {message}")
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_read_past(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes('\ufeff{"a": "ü"}\r\n{"a": 2}\r\n'.encode())
    places = [(f"{file}:1", {"a": "ü"}), (f"{file}:2", {"a": 2})]
    assert list(read_jsonl(file)) == list(read_own_jsonl(file)) == places


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[1]", "a JSON object was expected, not list"),
        (b'{"a": 1', "not valid JSON: Expecting ',' delimiter at column "),
        (b'{"a": ' + b"7" * 5000 + b"}", "a number of thousands of digits"),
        (b"[" * 100_000, "nested too deeply"),
    ],
    ids=["open", "bytes", "list", "cut off", "digits", "bottomless"],
)
@pytest.mark.parametrize("read", [read_jsonl, read_own_jsonl, read_appended])
def test_a_broken_line_names_file_and_line(
    tmp_path: Path, read: Callable[[Path], Iterable[object]], line: bytes, message: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n{"a": 2}\n' + line + b"\n")
    with pytest.raises(DataError, match=message) as error:
        list(read(file))
    assert str(error.value).startswith(f"{file}:3: ")


def test_a_document_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=f"^{tmp_path}: cannot be read: Is a directory; remove it and run again$"):
        read_json(tmp_path)


def test_what_is_private_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"a": 1}, private=True)
    write_json(tmp_path / "report.json", {"a": 1})
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("config.json", "report.json")]
    umask = os.umask(0)
    os.umask(umask)
    assert modes == [0o600, 0o666 & ~umask]


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000, b"7" * 5000], ids=["open", "bytes", "deep", "digits"])
def test_a_damaged_document_of_ours_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(RunFolderError, match=r"manifest\.json: is damaged; remove it and run again"):
        read_json(tmp_path / "manifest.json")


def test_a_missing_file_and_a_missing_field(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data file"):
        list(read_jsonl(tmp_path / "no.jsonl"))
    with pytest.raises(DataError, match="f:8: 'messages' is missing"):
        require({}, "messages", list, "f:8")
    with pytest.raises(DataError, match="f:8: 'messages' must be list, not str"):
        require({"messages": "x"}, "messages", list, "f:8")


def test_nothing_is_half_written(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_jsonl(file, [{"old": 1}])

    def rows():
        yield {"new": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(file, rows())
    assert file.read_text() == '{"old": 1}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(RunFolderError, match="cannot be written"):
        write_jsonl(Path("/dev/null/folder/rows.jsonl"), [])


def test_a_cut_last_line_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n{"a": 2')
    assert read_appended(file) == [{"a": 1}]
    assert file.read_text() == '{"a": 1}\n'
    assert read_appended(tmp_path / "none.jsonl") == []
