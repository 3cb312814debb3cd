"""Rows on disk: JSON lines read with file and line in every error, written whole or not at all.

What comes from outside is read strictly (`read_jsonl`, `parse_object`), what calltune wrote as it was written
(`read_own_jsonl`, `read_appended`, `read_json`).
"""

import json
import os
import tempfile
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from calltune.calling.strict_json import parse_value
from calltune.errors import DataError, NotFiniteError, RunFolderError, not_finite_key, special_file
from calltune.types import Example, Preference, plain


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file from outside, read strictly, each with its place `file:line` for messages.

    Raises:
        DataError: the file cannot be read, or a line is not an object of strict JSON.
    """
    return ((where, parse_object(line, where)) for where, line in numbered_lines(path))


def read_own_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file that calltune wrote: in less time, and with whatever a model said in them.

    Raises:
        DataError: the file cannot be read, or a line is damaged.
    """
    return ((where, parse_own_object(line, where)) for where, line in numbered_lines(path))


def numbered_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a file that are not blank, past a byte-order mark, each with its place `file:line`.

    Raises:
        DataError: the file is missing, is no file, or cannot be read.
    """
    if kind := special_file(path):
        raise DataError(f"{path}: is {kind}, a data file was expected")
    try:
        lines = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such data file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    with lines:
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(BOM_UTF8) if number == 1 else line
            if text.strip():
                yield f"{path}:{number}", text


def parse_object(text: bytes | str, where: str) -> dict[str, Any]:
    """One JSON object from outside, read strictly.

    Raises:
        DataError: the text is not strict JSON, or not an object; the message begins with `where`.
    """
    return _as_object(parse_value(text, where), where)


def parse_own_object(line: bytes, where: str) -> dict[str, Any]:
    """One JSON object that calltune wrote.

    Raises:
        DataError: the line is damaged; the message begins with `where`.
    """
    try:
        # Decoded here, as json.loads would guess UTF-16 from the bytes.
        return _as_object(json.loads(line.decode("utf-8")), where)
    except (ValueError, RecursionError):
        # What is damaged the strict reader does not take either, and it says where and why.
        return parse_object(line, where)


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: a JSON object was expected, not {type(value).__name__}")
    return value


def require(row: Mapping[str, Any], key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """The value of a field that must be there and of a type.

    Raises:
        DataError: `where: 'key' is missing`, or of another type.
    """
    if key not in row:
        raise DataError(f"{where}: '{key}' is missing")
    value = row[key]
    if not isinstance(value, kind):
        wanted = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
        raise DataError(f"{where}: '{key}' must be {wanted}, not {type(value).__name__}")
    return value


@contextmanager
def atomic_writer(path: Path, *, private: bool = False) -> Iterator[IO[str]]:
    """A text file that appears under its name only when the block ends without an error.

    Args:
        private: whether its owner alone may read it.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise RunFolderError(f"{path.parent}: cannot be written: {error.strerror}") from None
    try:
        # A lone surrogate cannot be encoded; its backslash form is the JSON escape it was read from.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not private:
            # mkstemp makes the file private; give it the mode an ordinary file would have had.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write nouns or plain objects as JSON lines, atomically; returns how many."""
    return write_lines(path, map(to_json, rows))


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write lines, atomically; returns how many."""
    count = 0
    with atomic_writer(path) as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    return count


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Write one JSON document, indented, atomically.

    Args:
        private: whether its owner alone may read it: what holds values of the run file, which might be anybody's.

    Raises:
        NotFiniteError: a number in it is nan or infinite.
    """
    text = json_text(value, str(path), indent=2)
    with atomic_writer(path, private=private) as file:
        file.write(text + "\n")


def json_text(value: Any, where: str = "", **options: Any) -> str:
    """A value as JSON, which has no nan and no infinity: a reader would stop at them, or take them for numbers.

    Args:
        where: what the message begins with, such as the file's name.
        options: of `json.dumps`.

    Raises:
        NotFiniteError: names the first number that is neither.
    """
    try:
        return json.dumps(value, **{"ensure_ascii": False, **options, "allow_nan": False})
    except ValueError:
        if key := not_finite_key(value):
            raise NotFiniteError(f"{where}{where and ': '}'{key}' is not finite, so it is not written") from None
        raise


def to_json(row: Any) -> str:
    """A noun or a plain object as one line of JSON.

    Raises:
        NotFiniteError: a number in it is nan or infinite.
        TypeError: it is a training row, which has a layout of its own: `training_row` makes it.
    """
    if isinstance(row, Example | Preference):
        raise TypeError("a training row is written through training_row()")
    return json_text(row if isinstance(row, dict) else plain(row))


def read_appended(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that is appended to; a last line cut off by a kill is removed from the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return [parse_own_object(line, f"{path}:{n}") for n, line in enumerate(whole.splitlines(), start=1)]


def read_json(path: Path, mend: str = "remove it and run again") -> dict[str, Any]:
    """A JSON object that calltune wrote.

    Args:
        mend: what the user can do when it is damaged.

    Raises:
        RunFolderError: it is missing or damaged.
    """
    if kind := special_file(path):
        raise RunFolderError(f"{path}: is {kind}, a file was expected; {mend}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunFolderError(f"{path}: is missing; run the stage before this one first") from None
    except (ValueError, RecursionError):
        raise RunFolderError(f"{path}: is damaged; {mend}") from None
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}; {mend}") from None
