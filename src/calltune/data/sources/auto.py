"""Files of any layout that a source reads: looks at each file, says what it is, and reads it with that source.

The first rows of a file decide, by the keys that `layouts` knows. What is read is to the letter what the source itself
reads; rows of another layout are rejected with their reason, and counted for each file.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from calltune.calling.strict_json import shortened
from calltune.data.sources import chat_jsonl, openai_traces, sharegpt, when2call, xlam
from calltune.data.sources.files import Noun, data_files, read_rows, tell_passed_over
from calltune.data.sources.layouts import Layout, layout_of
from calltune.data.sources.mcp_tools import ToolSettings, is_server, source_fingerprint
from calltune.errors import DataError
from calltune.runtime.terminal import say
from calltune.types import Rejected

_READERS: dict[str, ModuleType] = {
    "openai_traces": openai_traces,
    "chat_jsonl": chat_jsonl,
    "sharegpt": sharegpt,
    "xlam": xlam,
    "when2call": when2call,
}
_NUM_ROWS = 50
_MOST_LINES = 10
_UNKNOWN = "no known layout"


class Settings(ToolSettings):
    """The keys of an `auto` source.

    `turns` holds for the layouts whose rows hold many answers, `tools` for files that `openai_traces` reads.
    """


@dataclass(frozen=True, slots=True)
class _Look:
    """What the first rows of a file say: how many there are of each layout, and the source that reads most of them."""

    file: Path
    layouts: Counter[str]
    source: str
    split: str

    @property
    def num_rows(self) -> int:
        return self.layouts.total()


def read(settings: Settings) -> Iterator[Noun]:
    """Yield what the source of each file's layout makes of its rows. What each file is, is said before.

    Raises:
        DataError: a file is missing or broken as a whole, or its layout is not known.
    """
    files = data_files(settings.path)
    if Path(settings.path).is_dir():
        tell_passed_over(settings.path, files)
    # The tools may lie beside the rows, and are none.
    tools = Path(settings.tools).resolve() if settings.tools and not is_server(settings.tools) else None
    looks = [_look(file) for file in files if file.resolve() != tools]
    if not looks:
        raise DataError(f"{settings.path}: holds tools and no rows")
    _say_all(looks, settings)
    for look in looks:
        yield from _rows_of(look, settings)


def fingerprint(settings: Settings) -> str:
    """Return the hash of the files and of the tools."""
    return source_fingerprint(settings)


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """None: all of its rows are trained on."""
    return iter(())


def _look(file: Path) -> _Look:
    rows = list(islice(read_rows(str(file)), _NUM_ROWS))
    objects = [row.value for row in rows if not row.problem and isinstance(row.value, dict)]
    if not objects:
        problem = rows[0].problem or f"{rows[0].where}: a JSON object was expected, not {type(rows[0].value).__name__}"
        raise DataError(f"{problem} (and none of the first {len(rows)} rows is an object)")
    layouts = [layout_of(row) for row in objects]
    readable = [layout for layout in layouts if layout and layout.readers]
    if not readable:
        raise DataError(f"{file}: its layout is not known: {_unknown(objects, layouts)}")
    # Of two sources that read as many rows, it is the one that more of them were made for.
    source = max(
        _READERS,
        key=lambda name: (
            sum(name in layout.readers for layout in readable),
            sum(name == layout.readers[0] for layout in readable),
        ),
    )
    splits = Counter(layout.split for layout in readable if layout.readers[0] == source)
    counts = Counter(layout.title if layout else _UNKNOWN for layout in layouts)
    if others := len(rows) - len(objects):
        counts["no JSON object"] = others
    return _Look(file, counts, source, splits.most_common(1)[0][0] if splits else "")


def _unknown(objects: Sequence[dict[str, Any]], layouts: Sequence[Layout | None]) -> str:
    """Return what rows hold that no source reads, and what to do."""
    if known := next(filter(None, layouts), None):
        return known.hint
    keys = ", ".join(dict.fromkeys(str(key) for row in objects for key in row)) or "none"
    return f"the keys of its rows are {shortened(keys)}; docs/data-formats.md has those of what is read"


def _say_all(looks: Sequence[_Look], settings: Settings) -> None:
    """Say what each file is. Where there are many, those that are alike share a line."""
    alike = Counter((_layout_line(look), _reader_line(look, settings)) for look in looks if _is_plain(look))
    is_short = len(looks) <= _MOST_LINES
    for look in looks:
        if is_short or not _is_plain(look):
            say(f"{look.file}: {_layout_line(look)} ({_sureness(look)}); {_reader_line(look, settings)}")
    if not is_short:
        for (layout, reader), number in alike.items():
            say(f"{settings.path}: {number:,} file{'s'[: number > 1]}: {layout} (sure); {reader}")


def _is_plain(look: _Look) -> bool:
    """Return whether all rows that were looked at have one layout."""
    return len(look.layouts) == 1


def _layout_line(look: _Look) -> str:
    if _is_plain(look):
        return next(iter(look.layouts))
    return "several layouts: " + ", ".join(f"{number} of {title}" for title, number in look.layouts.most_common())


def _sureness(look: _Look) -> str:
    number, total = look.layouts.most_common(1)[0][1], look.num_rows
    word = "sure" if number == total else "likely" if number > total / 2 else "a guess"
    return f"{word}: {number} of {'the first' if total == _NUM_ROWS else 'its'} {total} row{'s'[: total > 1]}"


def _reader_line(look: _Look, settings: Settings) -> str:
    has_no_tools = settings.tools and "tools" not in _READERS[look.source].Settings.model_fields
    return f'read with name = "{look.source}"' + (", without 'tools'" if has_no_tools else "")


def _rows_of(look: _Look, settings: Settings) -> Iterator[Noun]:
    """Yield the rows of a file. How many have another layout than the source reads is told at its end."""
    module = _READERS[look.source]
    own = {"path": str(look.file), "turns": settings.turns, "tools": settings.tools, "split": look.split}
    own["tools_token_env"] = settings.tools_token_env
    keys = module.Settings.model_fields
    others = Counter[str]()
    try:
        for noun in module.read(module.Settings(**{key: value for key, value in own.items() if key in keys})):
            # An answer of a conversation has a number behind its row's place; a whole row has none.
            if isinstance(noun, Rejected) and isinstance(noun.row, dict) and re.search(r":\d+$", noun.id):
                layout = layout_of(noun.row)
                if layout is None or look.source not in layout.readers:
                    others[layout.title if layout else _UNKNOWN] += 1
            yield noun
    finally:
        if others:
            listed = ", ".join(f"{number:,} of {title}" for title, number in others.most_common())
            say(f'warning: {look.file}: rows that name = "{look.source}" does not read, and are rejected: {listed}')


@dataclass(frozen=True, slots=True)
class Described:
    """A file of rows: its layout, how sure that is, the source that reads it, and the rows that this one gives."""

    file: Path
    layout: str
    sureness: str
    source: str
    rows: Iterator[Noun]


def described(file: Path, tools: str | None = None) -> Described:
    """Return what a file is, from its first rows; the others are read with `rows`.

    Args:
        tools: as in the keys of an `auto` source.

    Raises:
        DataError: the file is broken as a whole, or its layout is not known.
    """
    look = _look(file)
    return Described(
        file, _layout_line(look), _sureness(look), look.source, _rows_of(look, Settings(path=str(file), tools=tools))
    )
