"""How bytes are packed: gzip and Zstandard around a file, and tables of Parquet, Arrow and CSV.

gzip is Python's own; Zstandard, Parquet and Arrow go through pyarrow, which comes with `datasets`.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from calltune.calling.strict_json import check_value
from calltune.errors import DataError, special_file

ROW_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".arrow")
_PACKED = (".gz", ".zst")
_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SIDECARS = ("dataset_info.json", "state.json", "dataset_dict.json")
_MAX_CELL = 2**31 - 1


def is_row_file(path: Path) -> bool:
    """Return whether a file of a folder holds rows, by its name. What `datasets` writes beside a table holds none."""
    name = path.with_suffix("") if path.suffix in _PACKED else path
    return name.suffix in ROW_FILES and not (path.name in _SIDECARS and (path.parent / "state.json").exists())


def no_special(path: Path) -> Path:
    """Return the path of a file or folder.

    Raises:
        DataError: it is a pipe, a socket or a device, which to open may take for ever.
    """
    if kind := special_file(path):
        raise DataError(f"{path}: is {kind}, a data file was expected")
    return path


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file's bytes as they were before they were packed.

    Raises:
        DataError: the file cannot be read, is no file, or what packs it is broken.
    """
    try:
        with no_special(path).open("rb") as file:
            mark = file.read(4)
            file.seek(0)
            if mark.startswith(_GZIP):
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield io.BufferedReader(unpacked)
            elif mark == _ZSTANDARD:
                # pyarrow's streams have no lines of their own.
                with _arrow(path).CompressedInputStream(file, "zstd") as unpacked:
                    yield io.BufferedReader(unpacked)
            else:
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: this is gzip, and broken: {error}") from None
    except OSError as error:
        what = error.strerror or f"it cannot be unpacked: {str(error).splitlines()[0]}"
        raise DataError(f"{path}: {what}") from None


def table_of(path: Path, head: bytes) -> Callable[[Path], Iterator[tuple[str, Any, str]]] | None:
    """Return what reads a file that is a table, or None for another one. `head` is its beginning."""
    if head.startswith(b"PAR1"):
        return _parquet_rows
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return _arrow_rows
    return _csv_rows if path.with_suffix("" if path.suffix in _PACKED else path.suffix).suffix == ".csv" else None


def _arrow(path: Path) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise DataError(f"{path}: to read this file needs pyarrow: pip install pyarrow") from None
    return pyarrow


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any, str]]:
    arrow = _arrow(path)
    try:
        import pyarrow.parquet

        batches = pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=512)
        yield from _numbered((row for batch in batches for row in batch.to_pylist()), path)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: this is Parquet, and cannot be read: {str(error).splitlines()[0]}") from None


def _arrow_rows(path: Path) -> Iterator[tuple[str, Any, str]]:
    arrow = _arrow(path)
    try:
        import pyarrow.ipc

        with path.open("rb") as file:
            is_file = file.read(6) == b"ARROW1"
            file.seek(0)
            if is_file:
                reader = pyarrow.ipc.open_file(file)
                batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            else:
                batches = iter(pyarrow.ipc.open_stream(file))
            yield from _numbered((row for batch in batches for row in batch.to_pylist()), path)
    except (arrow.ArrowException, OSError, EOFError) as error:
        raise DataError(f"{path}: this is Arrow, and cannot be read: {str(error).splitlines()[0]}") from None


def _numbered(rows: Iterator[Any], path: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield rows of a table with their places. A row that JSON cannot hold says so."""
    for number, row in enumerate(rows, start=1):
        where = f"{path}:{number}"
        try:
            yield where, check_value(row, where), ""
        except DataError as error:
            yield where, repr(row), str(error)
        except TypeError as error:
            yield where, repr(row), f"{where}: no value of JSON: {error}"


def _csv_rows(path: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield the records of a CSV file whose first line names its columns; an empty cell is left out."""
    csv.field_size_limit(_MAX_CELL)
    with opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            names = next(reader, [])
            for number, cells in enumerate((cells for cells in reader if cells), start=1):
                where = f"{path}:{number}"
                if len(cells) != len(names):
                    yield where, cells, f"{where}: {len(cells)} cells under {len(names)} names of columns"
                    continue
                row = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
                yield where, row, ""
        except csv.Error as error:
            raise DataError(f"{path}: this is CSV, and broken at line {reader.line_num}: {error}") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 text at byte {error.start}") from None
