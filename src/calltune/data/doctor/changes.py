"""What was edited on the way in, tool schemas above all.

Each distinct edit is logged once, so that it can be undone.
"""

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Self

from calltune.calling.edits import Change

_SPANS = {
    "span_unread": "spans of agents and tools, which ask no model, are not read",
    "repeated": "answers stand in later spans too, and are taken once",
}
_UNREAD = ("key_unread", "file_unread", *_SPANS)


class ChangeLog:
    """Hears the edits of `calling.edits`.

    The disk keeps where each distinct edit was first met, and memory keeps the counts.
    """

    def __init__(self) -> None:
        self.kinds = Counter[str]()
        self._unread = dict[str, Counter[str]]()
        self._spans = dict[str, Counter[str]]()
        self._passed_over = dict[str, set[str]]()
        self._times = Counter[bytes]()
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115

    def hear(self, where: str, what: str, changes: tuple[Change, ...]) -> None:
        """Record one tool's or message's changes, as `changes_told_to` tells them."""
        # What was not read was not put into another form; `notes` tells of it.
        self.kinds.update(change.kind for change in changes if change.kind not in _UNREAD)
        file = re.split(r":\d+(?=[:#]|$)", where, maxsplit=1)[0] if changes else ""
        for change in changes:
            if change.kind in _SPANS:
                self._spans.setdefault(change.kind, Counter())[file] += 1
            elif change.kind == "key_unread":
                self._unread.setdefault(change.path[1:].replace("/*/", "[]."), Counter())[file] += 1
            elif change.kind == "file_unread":
                self._passed_over.setdefault(where, set()).add(change.path[1:])
        key = hashlib.blake2b(repr((what, changes)).encode("utf-8", "backslashreplace"), digest_size=16).digest()
        self._times[key] += 1
        if self._times[key] == 1:
            row = {"where": where, "what": what, "changes": [asdict(change) for change in changes]}
            self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each distinct edit in the order in which it was met.

        A row holds its first place, the changes, and how often it was met.
        """
        self._file.seek(0)
        for line, times in zip(self._file, self._times.values(), strict=True):
            yield {**json.loads(line), "times": times}

    def notes(self) -> list[str]:
        """Return what was not read, a line for each key of a file and for each folder; many files share a line."""
        lines = []
        for folder, names in sorted(self._passed_over.items()):
            shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            lines.append(f"{folder}: {len(names):,} file{'s'[: len(names) > 1]} passed over, as no rows: {shown}")
        for key, files in sorted(self._unread.items()):
            for file, number in _few(files):
                times = f"{number:,} time{'s'[: number > 1]}"
                lines.append(f"{file}: '{key}' holds text or a schema and is not read ({times})")
        for kind, files in sorted(self._spans.items()):
            lines += (f"{file}: {_SPANS[kind]} ({number:,})" for file, number in _few(files))
        return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _few(files: Counter[str]) -> list[tuple[str, int]]:
    """Return the files with their numbers, or the sum of more than three."""
    return sorted(files.items()) if len(files) <= 3 else [(f"{len(files):,} files", files.total())]
