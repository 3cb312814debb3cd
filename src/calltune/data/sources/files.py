"""Files of rows: JSON lines (never loaded whole), a JSON array, JSON objects one after another, or a table.

A folder is all of its files of rows, those of its sub-folders too; what is passed over is told. Files may be packed,
see `containers`. A session of Strands is a folder and one row, see `sessions`. Rows may also stand as a list in one
object (`{"data": [...]}`).

A byte-order mark and Windows line ends are read past. A line or an element that is not strict JSON becomes a rejected
row. A file that is missing, empty, or no UTF-8 text at all is an error.
"""

import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltune.calling.edits import Change, tell
from calltune.calling.strict_json import parse_value, read_array, read_objects
from calltune.config.table import Table
from calltune.data.sources.containers import ROW_FILES, is_row_file, no_special, opened, table_of
from calltune.data.sources.layouts import with_layout
from calltune.data.sources.marks import row_mark
from calltune.data.sources.sessions import is_of_session, is_session, session_files, session_folder, session_rows
from calltune.errors import DataError
from calltune.files.hashes import file_sha256, value_sha256
from calltune.types import Example, Preference, Rejected

Noun = Example | Preference | Rejected

_FORMATS = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# CloudWatch's export to S3 puts the time before each record.
_TIME = re.compile(rb"^\d{4}-\d\d-\d\dT[\d:.]+Z +(?=\{)")
_LISTS = ("data", "rows", "records", "Records", "examples", "items")
_LIST_STARTS = tuple(b'{"' + key.encode() + b'"' for key in (*_LISTS, "object", "version"))


class FileSettings(Table):
    """The keys of every source that reads files."""

    path: str
    """A file of JSON lines, a JSON array or a table (Parquet, Arrow, CSV), packed or not, or a folder of such files,
    read in order of name."""


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
    """Yield what `parse(row, where)` makes of each row; a row at which it raises `DataError` becomes a `Rejected`.

    Its reason names the row's layout where that is another source's.
    """
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
            yield Rejected(row.where, source, with_layout(str(error), row.value, source), row.value)
            continue
        if not nouns:
            raise AssertionError(f"{row.where}: {source} lost a row")
        yield from nouns


def read_rows(path: str) -> Iterator[SourceRow]:
    """Yield the rows of a file, or of all files of a folder.

    Raises:
        DataError: a file is missing, empty, or not what it should be as a whole.
    """
    files = data_files(path)
    if Path(path).is_dir():
        tell_passed_over(path, files)
    return (row for file in files for row in _rows_of(file))


def data_files(path: str) -> list[Path]:
    """Return the file, or the data files of the folder.

    Raises:
        DataError: there is none, or one is a pipe, a socket or a device.
    """
    place = Path(path)
    if place.is_dir() and is_session(place):
        return [place]
    if not place.is_dir():
        if not place.exists():
            raise DataError(f"{path}: no such data file or folder")
        return [no_special(place)]
    if (place / "dataset_dict.json").exists():
        raise DataError(f"{path}: holds the splits of a data set; name the folder of one of them")
    named = [file for file in _all_files(place) if is_row_file(file) and not _is_hidden(file, place)]
    files = [file for file in map(no_special, named) if file.is_file() and not is_of_session(file)]
    files = list(dict.fromkeys(session_folder(file) or file for file in files))
    if not files:
        raise DataError(f"{path}: the folder holds no .jsonl or .json file, and none of {', '.join(ROW_FILES[3:])}")
    return files


def _all_files(folder: Path) -> list[Path]:
    """Return all that a folder holds, in order of name. Links to folders are not followed, so there is no circle."""
    links = (Path(here) / name for here, names, _ in os.walk(folder) for name in names)
    files = (Path(here) / name for here, _, names in os.walk(folder) for name in names)
    return sorted([*files, *(link for link in links if link.is_symlink())])


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def tell_passed_over(path: str, read: Iterable[Path]) -> None:
    """Tell of what a folder holds that is no file of rows."""
    place = Path(path)
    whole = {file for path in read for file in (session_files(path) if path.is_dir() else [path])}
    names = sorted(str(file.relative_to(place)) for file in set(_all_files(place)).difference(whole))
    tell(path, "folder", tuple(Change("file_unread", "remove", f"/{name}") for name in names))


def files_fingerprint(*paths: str) -> str:
    """Return a hash that changes when the bytes or the names of the files change.

    Raises:
        DataError: a file cannot be read.
    """
    found = [file for path in paths for file in data_files(path)]
    files = [file for path in found for file in (session_files(path) if path.is_dir() else [path])]
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
    with opened(path) as file:
        return file.read()


def _rows_of(path: Path) -> Iterator[SourceRow]:
    if path.is_dir():
        yield from (SourceRow(*row) for row in session_rows(path))
        return
    with opened(path) as file:
        head = file.read(4096)
    table = table_of(path, head)
    rows = (SourceRow(*row) for row in table(path)) if table else _json_rows(path, head)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: holds no rows")
    yield first
    yield from rows


def _json_rows(path: Path, head: bytes) -> Iterator[SourceRow]:
    other_format = next((name for mark, name in _FORMATS.items() if head.startswith(mark)), None)
    other_format = other_format or ("binary" if head.count(0) > len(head) / 10 else None)
    if other_format:
        raise DataError(f"{path}: JSON in UTF-8 was expected, this is {other_format}")
    start = head.removeprefix(BOM_UTF8).lstrip()[:1]
    if start in (b"[", b"{") and not _is_of_lines(path, start):
        return _array(path) if start == b"[" else _objects(path)
    return _lines(path)


def _lines(path: Path) -> Iterator[SourceRow]:
    with opened(path) as file:
        yield from _rows_of_lines(file, path)


def _rows_of_lines(file: Iterable[bytes], path: Path) -> Iterator[SourceRow]:
    for number, line in enumerate(file, start=1):
        text = line.removeprefix(BOM_UTF8) if number == 1 else line
        text = _TIME.sub(b"", text)
        if not text.strip():
            continue
        where = f"{path}:{number}"
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


def _objects(path: Path) -> Iterator[SourceRow]:
    """Yield objects that stand over several lines, one after another. If the first is none, the lines are rows.

    The list in an object of one `data` or `rows` are the rows.
    """
    try:
        text = _bytes(path).removeprefix(BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError:
        yield from _lines(path)
        return
    objects = list(read_objects(text, str(path)))
    if not objects:
        yield from _lines(path)
    elif len(objects) == 1 and (inner := _listed(objects[0][1])):
        yield from (SourceRow(f"{path}:{number}", row) for number, row in enumerate(inner, start=1))
    else:
        yield from (SourceRow(*each) for each in objects)


def _listed(value: Any) -> list[Any]:
    """Return the rows that one object lists under a key of its own, or nothing."""
    if not isinstance(value, dict):
        return []
    lists = [value[key] for key in _LISTS if isinstance(value.get(key), list)]
    rows = lists[0] if len(lists) == 1 else []
    return rows if rows and all(isinstance(row, dict) for row in rows) else []


def _is_of_lines(path: Path, start: bytes) -> bool:
    """Return whether a file that begins like an object or an array holds one on each line.

    Its first two lines decide.
    """
    with opened(path) as file:
        filled = (text for line in file if (text := line.removeprefix(BOM_UTF8).rstrip()))
        first, second = next(filled, b""), next(filled, b"")
    if start == b"{":
        is_list = not second and path.suffix != ".jsonl" and first[:40].replace(b" ", b"").startswith(_LIST_STARTS)
        return (not second and not is_list) or second.startswith(b"{") or (bool(second) and _is_json(first))
    return bool(second) and _is_json(first)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
