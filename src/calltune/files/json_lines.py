"""Rows on disk: JSON lines read with file and line in every error, written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from calltune.errors import DataError, RunFolderError
from calltune.types import Example, Preference


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file, each with its place `file:line` for messages. Blank lines are skipped.

    Raises:
        DataError: the file is missing or a line is not a UTF-8 JSON object.
    """
    try:
        lines = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such data file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    with lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            yield where, parse_object(line, where)


def parse_object(line: bytes | str, where: str) -> dict[str, Any]:
    """One JSON object.

    Raises:
        DataError: the text is not UTF-8, not JSON, or not an object; the message begins with `where`.
    """
    try:
        # Decoded here, as json.loads would guess UTF-16 from the bytes.
        row = json.loads(line.decode("utf-8") if isinstance(line, bytes) else line)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from None
    except ValueError:
        raise DataError(f"{where}: not valid JSON: a number of thousands of digits") from None
    except RecursionError:
        raise DataError(f"{where}: JSON nested too deeply") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: a JSON object was expected, not {type(row).__name__}")
    return row


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
def atomic_writer(path: Path) -> Iterator[IO[str]]:
    """A text file that appears under its name only when the block ends without an error.

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


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, indented, atomically."""
    with atomic_writer(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def to_json(row: Any) -> str:
    """A noun or a plain object as one line of JSON.

    Raises:
        TypeError: it is a training row, which has a layout of its own: `training_row` makes it.
    """
    if isinstance(row, Example | Preference):
        raise TypeError("a training row is written through training_row()")
    return json.dumps(row if isinstance(row, dict) else asdict(row), ensure_ascii=False)


def read_appended(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that is appended to; a last line cut off by a kill is removed from the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return [parse_object(line, f"{path}:{n}") for n, line in enumerate(whole.splitlines(), start=1)]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that calltune wrote.

    Raises:
        RunFolderError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunFolderError(f"{path}: is missing; run the stage before this one first") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise RunFolderError(f"{path}: is damaged; remove it and run again") from None
