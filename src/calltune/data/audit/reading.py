"""Reads files of any layout and tells what they are and hold: `audited` does all of it."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from calltune.calling.edits import changes_told_to
from calltune.data.audit.seen import Auditor
from calltune.data.audit.tally import Tally, place_of
from calltune.data.doctor.changes import ChangeLog
from calltune.data.doctor.looking import looked_at
from calltune.data.doctor.spool import NumberedRow
from calltune.data.sources.auto import Described, described
from calltune.data.sources.files import data_files, tell_passed_over
from calltune.errors import DataError
from calltune.runtime.terminal import ProgressBar
from calltune.runtime.threads import available_cores

_MOST_PROBLEMS = 20
_ROWS_FOR_TWO = 300
"""Rows of a file's kilobytes below which a second process would take longer to start than it saves."""


def audited(path: str, tools: str | None = None) -> dict[str, Any]:
    """Return what a file, or a folder of files, is and holds, as JSON has it.

    Args:
        tools: a file of tools, or an MCP server, for rows that name none.

    Raises:
        DataError: there is no such file, or none of the files can be read.
    """
    with ChangeLog() as changes, changes_told_to(changes.hear):
        files = [file for file in data_files(path) if not tools or file.resolve() != Path(tools).resolve()]
        if Path(path).is_dir():
            tell_passed_over(path, files)
        known, problems = _described(files, tools)
        if not known:
            if not problems:
                raise DataError(f"{path}: holds tools and no rows")
            more = f" (and {len(problems) - 1:,} more files cannot be read)" if len(problems) > 1 else ""
            raise DataError(f"{problems[0]['problem']}{more}")
        rows, tally = dict.fromkeys((str(each.file) for each in known), 0), Tally()
        size = sum(each.file.stat().st_size for each in known)
        workers = min(4, available_cores()) if size > _ROWS_FOR_TWO * 1000 else 1
        with ProgressBar("reading", total=None) as bar:
            for seen in looked_at(_rows(known, rows, problems), Auditor, workers):
                bar.advance()
                tally.add(seen)
        if not tally.num_rows:
            raise DataError(problems[0]["problem"] if problems else f"{path}: holds no rows")
        return {
            "path": path,
            "files": _layouts(known, rows),
            "not_read": {"files": len(problems), "first": problems[:_MOST_PROBLEMS]},
            **tally.told(),
            "changes": dict(sorted(changes.kinds.items())),
            "notes": changes.notes(),
        }


def _described(files: Sequence[Path], tools: str | None) -> tuple[list[Described], list[dict[str, str]]]:
    """Return the files whose layout is known, and what is wrong with the others."""
    known, problems = list[Described](), list[dict[str, str]]()
    for file in files:
        try:
            known.append(described(file, tools))
        except DataError as error:
            problems.append({"file": str(file), "problem": str(error)})
    return known, problems


def _rows(known: Sequence[Described], rows: dict[str, int], problems: list[dict[str, str]]) -> Iterator[NumberedRow]:
    """Yield the rows of all files, each with a number for the source that reads it.

    Files that one source reads are judged as one: a log of a thousand files is one log. How many rows each file has is
    counted in `rows`; a file that breaks off is added to `problems`.
    """
    numbers = {source: number for number, source in enumerate(dict.fromkeys(each.source for each in known))}
    for each in known:
        last = ""
        try:
            for row in each.rows:
                if (place := place_of(row.id)) != last:
                    rows[str(each.file)] += 1
                    last = place
                yield numbers[each.source], row
        except DataError as error:
            problems.append({"file": str(each.file), "problem": str(error)})


def _layouts(known: Sequence[Described], rows: dict[str, int]) -> list[dict[str, Any]]:
    """Return what the files are; those that are alike share an entry."""

    def alike(each: Described) -> tuple[str, str, str]:
        # How sure it is, is a word and then numbers of rows.
        return each.layout, each.source, each.sureness.partition(":")[0]

    # A file of which nothing was read stands among the problems.
    read = [each for each in known if rows[str(each.file)]]
    return [
        {
            "layout": layout,
            "source": source,
            "sureness": ours[0].sureness if len(ours) == 1 else sureness,
            "files": len(ours),
            "first": str(ours[0].file),
            "rows": sum(rows[str(each.file)] for each in ours),
        }
        for (layout, source, sureness), group in groupby(sorted(read, key=alike), key=alike)
        if (ours := list(group))
    ]
