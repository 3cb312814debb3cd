"""Files of rows: JSON lines (never loaded whole), a JSON array, or one JSON object.

A byte-order mark and Windows line ends are read past. A line or an element that is not strict JSON becomes a rejected
row. A file that is missing, empty, or no UTF-8 text at all is an error.
"""

import json
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltune.calling.strict_json import parse_value, read_array
from calltune.config.table import Table
from calltune.data.sources.marks import row_mark
from calltune.errors import DataError
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.json_lines import numbered_lines
from calltune.types import Example, Preference, Rejected

Noun = Example | Preference | Rejected

_FORMATS = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"PAR1": "Parquet", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class FileSettings(Table):
    """The keys of every source that reads files."""

    path: str
    """A file of JSON lines, a JSON array, or a folder of such files (`*.jsonl`, `*.json`), read in order of name."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row as it stands in a file: its place, and its value.

    `where` is `file:line`; in an array, `line` is the number of the element. `value` is the row's JSON value, or its
    text where it is not strict JSON; then `problem` says what is wrong with it.
    """

    where: str
    value: Any
    problem: str = ""


def nouns_of(
    rows: Iterable[SourceRow], source: str, parse: Callable[[dict[str, Any], str], Iterable[Noun]]
) -> Iterator[Noun]:
    """Yield what `parse(row, where)` makes of each row; a row at which it raises `DataError` becomes a `Rejected`."""
    for row in rows:
        problem = row.problem
        if not problem and not isinstance(row.value, dict):
            problem = f"{row.where}: a JSON object was expected, not {type(row.value).__name__}"
        problem = problem or row_mark(row.value, row.where)
        if problem:
            yield Rejected(row.where, source, problem, row.value)
            continue
        try:
            nouns = list(parse(row.value, row.where))
        except DataError as error:
            yield Rejected(row.where, source, str(error), row.value)
            continue
        if not nouns:
            raise AssertionError(f"{row.where}: {source} lost a row")
        yield from nouns


def read_rows(path: str) -> Iterator[SourceRow]:
    """Yield the rows of a file, or of all files of a folder.

    Raises:
        DataError: a file is missing, empty, or not what it should be as a whole.
    """
    return (row for file in data_files(path) for row in _rows_of(file))


def data_files(path: str) -> list[Path]:
    """Return the file, or the data files of the folder.

    Raises:
        DataError: there is none.
    """
    place = Path(path)
    if not place.is_dir():
        if not place.exists():
            raise DataError(f"{path}: no such data file or folder")
        return [place]
    files = sorted(file for file in place.iterdir() if file.suffix in (".jsonl", ".json") and file.is_file())
    if not files:
        raise DataError(f"{path}: the folder holds no .jsonl or .json file")
    return files


def files_fingerprint(*paths: str) -> str:
    """Return a hash that changes when the bytes or the names of the files change.

    Raises:
        DataError: a file cannot be read.
    """
    files = [file for path in paths for file in data_files(path)]
    try:
        return value_sha256([[file.name, file_sha256(file)] for file in files])
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None


def read_whole(path: str) -> Any:
    """Return the one JSON value of a small file.

    Raises:
        DataError: the file is missing or not JSON.
    """
    return parse_value(_bytes(Path(path)).removeprefix(BOM_UTF8), path)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def _rows_of(path: Path) -> Iterator[SourceRow]:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    other_format = next((name for mark, name in _FORMATS.items() if head.startswith(mark)), None)
    other_format = other_format or ("binary" if head.count(0) > len(head) / 10 else None)
    if other_format:
        raise DataError(f"{path}: JSON in UTF-8 was expected, this is {other_format}")
    start = head.removeprefix(BOM_UTF8).lstrip()[:1]
    rows = _lines(path)
    if start in (b"[", b"{") and not _is_of_lines(path, start):
        rows = _array(path) if start == b"[" else _object(path)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: holds no rows")
    yield first
    yield from rows


def _lines(path: Path) -> Iterator[SourceRow]:
    for where, text in numbered_lines(path):
        try:
            yield SourceRow(where, parse_value(text, where))
        except DataError as error:
            yield SourceRow(where, text.decode("utf-8", "backslashreplace").rstrip("\r\n"), str(error))


def _array(path: Path) -> Iterator[SourceRow]:
    try:
        text = _bytes(path).removeprefix(BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text at byte {error.start}") from None
    for where, value, problem in read_array(text, str(path)):
        yield SourceRow(where, value, problem)


def _object(path: Path) -> Iterator[SourceRow]:
    """Yield one object that stands over several lines. If the file holds no such object, its lines are rows."""
    try:
        value = parse_value(_bytes(path).removeprefix(BOM_UTF8), f"{path}:1")
    except DataError:
        yield from _lines(path)
        return
    yield SourceRow(f"{path}:1", value)


def _is_of_lines(path: Path, start: bytes) -> bool:
    """Return whether a file that begins like an object or an array holds one on each line.

    Its first two lines decide.
    """
    with path.open("rb") as file:
        filled = (text for line in file if (text := line.removeprefix(BOM_UTF8).rstrip()))
        first, second = next(filled, b""), next(filled, b"")
    if start == b"{":
        return not second or second.startswith(b"{") or _is_json(first)
    return bool(second) and _is_json(first)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
