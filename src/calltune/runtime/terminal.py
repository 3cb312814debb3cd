"""What the user sees: lines, tables, and a progress bar for everything that takes time. A pipe gets plain lines."""

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from calltune.runtime.processes import processes
from calltune.runtime.told import keep_line, keep_table

STAGE = "CALLTUNE_STAGE"
"""In the environment: the stage whose name lines begin with where they go to no terminal."""

_SECONDS_BETWEEN_PLAIN_LINES = 10.0
_SECONDS_WORTH_A_LINE = 2.0


def _console() -> Console:
    # The console is made anew for each use, because sys.stdout may be redirected meanwhile. A pipe has no width of its
    # own to wrap at.
    width = None if sys.stdout.isatty() else 160
    # What comes from models and data is shown as it is: `[red]` is no colour, and `:key:` no picture.
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """Print one line, on the first of several processes. Square brackets in it are text, not markup."""
    if processes().rank == 0:
        keep_line(text)
    _print(text)


@contextmanager
def working_on(stage: str) -> Iterator[None]:
    """Within it each line that goes to no terminal begins with the stage, also those of processes begun meanwhile."""
    before = os.environ.get(STAGE)
    os.environ[STAGE] = stage
    try:
        yield
    finally:
        os.environ.pop(STAGE)
        if before is not None:
            os.environ[STAGE] = before


def _print(text: str) -> None:
    if processes().rank:
        return
    if _is_log():
        text = _for_log(text)
        if not text:
            return
    _console().print(text, markup=False, soft_wrap=True)


def _is_log() -> bool:
    return bool(os.environ.get(STAGE)) and not sys.stdout.isatty()


def _for_log(text: str) -> str:
    """A text as a log has it: each line after its stage, which many name themselves, and none that is empty."""
    stage = os.environ[STAGE]
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(line if line.startswith(f"{stage}:") else f"{stage}: {line}" for line in lines)


def show_marked(pieces: Iterable[tuple[str, bool]]) -> None:
    """Print text as it stands. Marked pieces are green, or stand between >>> and <<< where there is no colour."""
    if processes().rank:
        return
    console = _console()
    colored = console.color_system is not None and not console.no_color
    for text, marked in pieces:
        if marked and not colored:
            text = f">>>{text}<<<"
        console.print(Text(text, style="bold green" if marked else ""), soft_wrap=True, end="")
    console.print()


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. The first column is text; the others are figures, which are aligned right."""
    rows = [*rows]
    keep_table(title, columns, rows)
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console = _console()
    if not _is_log():
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    _print(drawn.get())


class ProgressBar:
    """A bar on a terminal, plain lines in a pipe.

    A pipe gets a line every ten seconds, and one at the end of work that took two seconds or more, or that went on from
    the middle, however little was left of it. `total` (None when it is not known) and `advance` count the same unit,
    whichever the caller likes: rows, steps.
    """

    def __init__(self, description: str, total: int | None, done: int = 0) -> None:
        self._description, self._total, self._done, self._begun_from = description, total, done, done
        self._live = sys.stdout.isatty() and processes().rank == 0
        self._note, self._told = "", -1

    def __enter__(self) -> Self:
        self._start = self._last = time.monotonic()
        if self._live:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=_console(),
                # rich would look half a minute back, in which a slow step may not have ended.
                speed_estimate_period=math.inf,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._description, total=self._total, completed=self._done, note="")
        return self

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count units as done. `note`, such as the loss, is shown behind the bar."""
        self._done += count
        self._note = note or self._note
        if self._live:
            self._bar.update(self._task, advance=count, note=self._note)
        elif time.monotonic() - self._last >= _SECONDS_BETWEEN_PLAIN_LINES:
            self._plain_line()

    def _plain_line(self) -> None:
        self._last, self._told = time.monotonic(), self._done
        seconds = self._last - self._start
        count = f"{self._done:,}" if self._total is None else f"{self._done:,}/{self._total:,}"
        _print(f"{self._description}: {count} after {seconds:.0f} s {self._note}".rstrip())
        sys.stdout.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._bar.stop()
        elif self._told != self._done and (self._begun_from or time.monotonic() - self._start >= _SECONDS_WORTH_A_LINE):
            self._plain_line()
