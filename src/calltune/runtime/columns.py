"""Texts that grow side by side on a terminal; in a pipe each of them is printed once it is whole."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from calltune.runtime.terminal import say


class Columns:
    """One text a title, all shown while they grow."""

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles, self._texts = list(titles), ["" for _ in titles]
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            self._live = Live(self._table(), console=Console(highlight=False), refresh_per_second=8)
            self._live.start()
        return self

    def add(self, number: int, piece: str) -> None:
        """Show what a text goes on with."""
        self._texts[number] += piece
        if self._live:
            self._live.update(self._table())

    def finish(self, number: int, text: str) -> None:
        """Show a text as it stands in the end, in place of what was shown of it."""
        self._texts[number] = text
        if self._live:
            self._live.update(self._table())
        else:
            say(f"{self._titles[number]}: " + text.replace("\n", "\n" + " " * (len(self._titles[number]) + 2)))
            sys.stdout.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            # While they grow, only what fits the screen is shown; in the end all of it.
            self._live.vertical_overflow = "visible"
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def _table(self) -> Table:
        table = Table(expand=True, show_lines=False)
        for title in self._titles:
            table.add_column(title, ratio=1, overflow="fold")
        table.add_row(*map(Text, self._texts))
        return table
