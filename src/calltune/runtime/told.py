"""What a verb tells a program, while it tells people lines: kept here until it is printed as one JSON object."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Told:
    """The lines and tables that people were told, and facts by name, plain JSON values, for a program alone."""

    lines: list[str] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


_LISTENERS: list[Told] = []


@contextmanager
def listening() -> Iterator[Told]:
    """Keep what is told within it."""
    told = Told()
    _LISTENERS.append(told)
    try:
        yield told
    finally:
        _LISTENERS.remove(told)


def program_listens() -> bool:
    """Whether what is told is kept for a program."""
    return bool(_LISTENERS)


def tell_program(**facts: Any) -> None:
    """Tell a program something by name, where one listens; what was told by that name before is gone."""
    for told in _LISTENERS:
        told.facts.update(facts)


def keep_line(text: str) -> None:
    """Keep a line that people are told."""
    for told in _LISTENERS:
        told.lines.append(text)


def keep_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Keep a table that people are shown."""
    for told in _LISTENERS:
        told.tables.append({"title": title, "columns": [*columns], "rows": [[*row] for row in rows]})
