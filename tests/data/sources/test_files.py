"""What a file of rows may look like, and what is said of one that is broken."""

import json
from pathlib import Path

import pytest
from not_strict import NAMES, NOT_STRICT

from calltune.calling.strict_json import read_array
from calltune.data.sources.files import files_fingerprint, nouns_of, read_rows
from calltune.errors import DataError

ONE, TWO = {"a": "ü"}, {"a": [1, {"b": None}]}


def values(path: Path) -> list:
    return [row.value for row in read_rows(str(path))]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "ü"}\n{"a": [1, {"b": null}]}\n',
        '\n{"a": "ü"}\r\n\r\n{"a": [1, {"b": null}]}',
        '\ufeff{"a": "ü"}\r\n{"a": [1, {"b": null}]}\r\n',
        '[{"a": "ü"}, {"a": [1, {"b": null}]}]',
        '\ufeff [\r\n{"a": "ü"},\r\n{"a": [1, {"b": null}]}\r\n]\r\n',
    ],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_lines_and_arrays_with_or_without_a_mark(tmp_path: Path, text: str, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(text.encode())
    assert values(file) == [ONE, TWO]


def test_one_object_over_several_lines_is_a_row(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(TWO, indent=2))
    assert values(file) == [TWO]


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"n": 2}')
    (tmp_path / "a.json").write_text('[{"n": 1}]')
    (tmp_path / "notes.txt").write_text("no row")
    assert values(tmp_path) == [{"n": 1}, {"n": 2}]
    before = files_fingerprint(str(tmp_path))
    (tmp_path / "b.jsonl").write_text('{"n": 3}')
    assert files_fingerprint(str(tmp_path)) != before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *((b'{"a": ' + text.encode() + b"}", message) for text, message in NOT_STRICT),
        (b'{"a": "\xff"}', "not UTF-8 text at byte"),
        (b'{"a": ', "not valid JSON"),
        (b"3", "a JSON object was expected, not int"),
    ],
    ids=[*NAMES, "bytes", "open", "int"],
)
def test_a_broken_row_is_rejected_as_its_text_and_the_others_are_read(
    tmp_path: Path, line: bytes, message: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\r\n' + line + b'\r\n{"a": 3}\r\n')
    first, broken, last = nouns_of(read_rows(str(file)), "mine", lambda row, where: [(where, row)])
    assert (first, last) == ((f"{file}:1", {"a": 1}), (f"{file}:3", {"a": 3}))
    assert (broken.id, broken.source) == (f"{file}:2", "mine")
    assert broken.reason.startswith(f"{file}:2: ")
    assert message in broken.reason
    assert broken.row == (3 if line == b"3" else line.decode("utf-8", "backslashreplace"))


def test_a_broken_element_of_an_array_costs_only_itself() -> None:
    text = '[{"a": 1}, {"a": NaN}, {"a": 1, "a": 2}, {"b": 3}]'
    rows = list(read_array(text, "f"))
    assert [(where, value) for where, value, _ in rows] == [
        *(("f:1", {"a": 1}), ("f:2", '{"a": NaN}'), ("f:3", '{"a": 1, "a": 2}'), ("f:4", {"b": 3}))
    ]
    assert [bool(problem) for _, _, problem in rows] == [False, True, True, False]
    assert list(read_array(" [ ] ", "f")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no rows"),
        (b"\n \r\n", "holds no rows"),
        (b"[]", "holds no rows"),
        (b"\x1f\x8b\x08rows", "this is gzip"),
        (b"PAR1rows", "this is Parquet"),
        ('{"a": 1}'.encode("utf-16"), "this is UTF-16"),
        ('{"a": 1}'.encode("utf-16-le"), "this is binary"),
        (b'[{"a": 1},\n{"a": 2', "not a JSON array: Expecting ',' delimiter in row 2"),
        (b'[{"a": 1}\n{"a": 2}]', "not a JSON array: no comma after row 1"),
        (b'[{"a":\n1}] x', "there is text after its end"),
        (b'[{"a":\n"\xff"}]', "not UTF-8 text at byte"),
        (b"[\n" * 100_000, "row 1 is nested too deeply"),
    ],
)
def test_a_file_that_is_broken_as_a_whole_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "rows.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        values(file)
    assert str(error.value).startswith(f"{file}: ")


def test_lines_that_are_lists_are_rows_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('[{"a": 1}]\n{"a": 2}\n')
    assert values(file) == [[{"a": 1}], {"a": 2}]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data file or folder"):
        values(tmp_path / "none")
    with pytest.raises(DataError, match=r"holds no \.jsonl or \.json file"):
        values(tmp_path)
