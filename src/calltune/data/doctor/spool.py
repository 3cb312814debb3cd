"""Rows waiting on disk while they are judged, so that memory holds facts alone."""

import tempfile
from pathlib import Path
from typing import Self

from calltune.data.doctor.facts import Facts


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
