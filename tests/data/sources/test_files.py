"""What a file of rows may look like, and what is said of one that is broken."""

import gzip
import json
from pathlib import Path

import datasets
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from not_strict import NAMES, NOT_STRICT

from calltune.calling.edits import Change, changes_told_to, tell
from calltune.calling.strict_json import read_array
from calltune.data.doctor.changes import ChangeLog
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


LINES = b'{"n": 1}\n{"n": [{"m": null}]}\n'
ROWS = [{"n": 1}, {"n": [{"m": None}]}]


def zstandard(data: bytes) -> bytes:
    return pyarrow.Codec("zstd").compress(data, asbytes=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.ndjson", LINES),
        ("rows.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("rows.ndjson.zst", zstandard(LINES)),
        ("rows.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("no.name", gzip.compress(LINES, mtime=0)),
        ("rows.json", b"\n".join(json.dumps(row, indent=2).encode() for row in ROWS)),
        ("rows.json", b",\n".join(json.dumps(row, indent=2).encode() for row in ROWS)),
        ("rows.json", json.dumps({"data": ROWS}).encode()),
        ("rows.json", json.dumps({"object": "list", "data": ROWS}, indent=2).encode()),
        ("rows.json", json.dumps({"Records": ROWS}, indent=2).encode()),
    ],
)
def test_rows_however_they_are_packed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    rows = list(read_rows(str(tmp_path / name)))
    assert [row.value for row in rows] == ROWS
    assert [row.where for row in rows] == [f"{tmp_path / name}:{number}" for number in (1, 2)] or name == "rows.json"


def test_tables_of_parquet_arrow_and_csv(tmp_path: Path) -> None:
    rows = [{"messages": '[{"role": "user"}]', "n": "7"}, {"messages": "two\nlines", "n": "8"}]
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    datasets.Dataset(table).save_to_disk(str(tmp_path / "saved"))
    with pyarrow.ipc.new_file(tmp_path / "t.arrow", table.schema) as file:
        file.write_table(table)
    text = 'messages,n\r\n"[{""role"": ""user""}]",7\r\n"two\nlines",8\r\n'
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8-sig"))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("t.parquet", "saved", "t.arrow", "t.csv", "t.csv.gz"):
        assert values(tmp_path / name) == rows, name
    (tmp_path / "odd.csv").write_text("a,b\n1,\n1,2,3\n\n1,2\n")
    first, odd, last = read_rows(str(tmp_path / "odd.csv"))
    assert (first.value, last.value) == ({"a": "1"}, {"a": "1", "b": "2"})
    assert odd.problem.endswith("odd.csv:2: 3 cells under 2 names of columns")
    datasets.DatasetDict(train=datasets.Dataset(table)).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(DataError, match="holds the splits of a data set"):
        values(tmp_path / "splits")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.gz", gzip.compress(LINES, mtime=0)[:-9], "this is gzip, and broken"),
        ("rows.zst", zstandard(LINES)[:12], "cannot be unpacked"),
        ("rows.parquet", b"PAR1 and no more", "this is Parquet, and cannot be read"),
        ("rows.arrow", b"ARROW1 and no more", "this is Arrow, and cannot be read"),
        ("rows.csv", b'a,b\n1,"2\n', "this is CSV, and broken at line"),
        ("rows.csv", b"a,b\n", "holds no rows"),
        ("rows.csv", b"a,b\n\xff,2\n", "not UTF-8 text at byte"),
    ],
)
def test_a_packed_file_that_is_broken_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        values(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: ")


def test_an_object_that_is_broken_costs_only_itself(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('{\n"a": 1\n}\n{\n"b": \n}\n{\n"c": 3\n}\n')
    first, broken, last = read_rows(str(file))
    assert (first.value, broken.value, last.value) == ({"a": 1}, '{\n"b": \n}', {"c": 3})
    assert broken.problem.startswith(f"{file}:2: not valid JSON")


def test_sub_folders_are_read_and_what_is_passed_over_is_told(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/1.jsonl", "a/2.ndjson", "3.json", ".hidden.jsonl", "notes.txt", "a/x.log"):
        (tmp_path / name).write_text(f'{{"n": "{name}"}}')
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    log = ChangeLog()
    with log, changes_told_to(log.hear):
        assert [row["n"] for row in values(tmp_path)] == ["3.json", "a/2.ndjson", "a/b/1.jsonl"]
    told = f"{tmp_path}: 4 files passed over, as no rows: .hidden.jsonl, a/circle, a/x.log, notes.txt"
    assert log.notes() == [told]


def test_unread_keys_are_told_once_for_each_file_with_their_count() -> None:
    log = ChangeLog()
    with log, changes_told_to(log.hear):
        for line in range(1, 4):
            tell(f"x.jsonl:{line}: messages[1]", "row", (Change("key_unread", "remove", "/messages/*/note"),))
        for file in "abcd":
            tell(f"{file}.jsonl:1", "row", (Change("key_unread", "remove", "/context"),))
        tell("x.jsonl:1", "row", (Change("key_unread", "remove", "/schema"),))
    assert log.notes() == [
        "4 files: 'context' holds text or a schema and is not read (4 times)",
        "x.jsonl: 'messages[].note' holds text or a schema and is not read (3 times)",
        "x.jsonl: 'schema' holds text or a schema and is not read (1 time)",
    ]
