"""Rows waiting on disk, so that memory holds facts alone: until they can be examined, and while they are judged."""

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from calltune.data.doctor.facts import Facts
from calltune.errors import RunFolderError
from calltune.types import Example, Preference, Rejected

NumberedRow = tuple[int, Example | Preference | Rejected]
"""The number of a row's source, and the row."""


class RowSpool:
    """Rows as their sources gave them, in a nameless file, which is gone with the process."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open the file in the folder, or in the nearest one above that is there; else where the system keeps such.

        Raises:
            RunFolderError: nothing can be written there.
        """
        place = folder and next(above for above in (folder, *folder.parents) if above.is_dir())
        try:
            self._file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise RunFolderError(f"{place}: cannot be written: {error.strerror}") from None
        self._num_rows = 0
        self._too_deep: dict[int, NumberedRow] = {}

    def put(self, row: NumberedRow) -> None:
        """Keep a row."""
        try:
            self._file.write(pickle.dumps(row, pickle.HIGHEST_PROTOCOL))
        except RecursionError:
            # The doctor is going to reject it, and to say so.
            self._too_deep[self._num_rows] = row
        self._num_rows += 1

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[NumberedRow]:
        """Give the rows in the order in which they came."""
        self._file.seek(0)
        for number in range(self._num_rows):
            yield self._too_deep[number] if number in self._too_deep else pickle.load(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class Spool:
    """Lines in a nameless file, which goes away with the process."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        self._end = 0

    def put(self, facts: Facts, line: str) -> None:
        """Keep a row's line. A lone surrogate is kept as its JSON escape."""
        data = line.encode("utf-8", "backslashreplace")
        self._file.seek(self._end)
        self._file.write(data)
        facts.place = (self._end, len(data))
        self._end += len(data)

    def line(self, facts: Facts) -> str:
        """Return a row's line."""
        start, length = facts.place
        self._file.seek(start)
        return self._file.read(length).decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
