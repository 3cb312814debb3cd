"""Damage rows and files of every layout that there is material of, read them, and account for every row.

Run as `python tests/material/damaged_rows_script.py --count 1000 [--seed 0]`. Each case takes the rows of one layout,
damages one (a value, its JSON, or the bytes of the file), and reads the file with `auto` or a source of its own. A case
is bad if anything but a `DataError` of one line that begins with the file is raised, if a row of the file is neither
read nor rejected, or if a reason does not begin with the row's place. Bad cases are printed; the last line is JSON.
"""

import argparse
import collections
import json
import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from layout_rows import FILES
from mutations import changed_text, changed_value

from calltune.calling.edits import Change, changes_told_to
from calltune.data.rows import training_row
from calltune.data.sources import auto, chat_jsonl, openai_traces, sharegpt, when2call, xlam
from calltune.data.sources.files import read_rows
from calltune.errors import DataError
from calltune.files.json_lines import to_json
from calltune.types import Rejected

TRACES = Path(__file__).parent / "traces"
READERS: tuple[tuple[ModuleType, dict[str, Any]], ...] = (
    (auto, {}),
    (auto, {}),
    (openai_traces, {}),
    (chat_jsonl, {}),
    (sharegpt, {}),
    (xlam, {}),
    (when2call, {"split": "train_sft"}),
)
SUFFIXES = (".jsonl", ".ndjson", ".json")


class Layout(NamedTuple):
    """A layout by name, some rows of it, and the bytes of the file that they came from."""

    name: str
    rows: list[Any]
    suffix: str = ".jsonl"
    data: bytes = b""


def layouts() -> Iterator[Layout]:
    """Every layout that there is material of: toy rows, and the files and folders of traces."""
    for number, (source, rows, _) in enumerate(FILES):
        yield Layout(f"toy {number} {source.__name__.rsplit('.')[-1]}", rows)
    for file in sorted(TRACES.rglob("*")):
        if not file.is_file() or file.suffix in (".py", ".txt", ".md"):
            continue
        try:
            rows = [row.value for row in read_rows(str(file)) if isinstance(row.value, dict)]
        except DataError:
            continue
        if rows:
            yield Layout(str(file.relative_to(TRACES)), rows[:20], "".join(file.suffixes[-2:]), file.read_bytes())


def damaged(layout: Layout, dice: random.Random, folder: Path) -> tuple[Path, str]:
    """A file in the folder with one damage, and words for it."""
    kind = dice.random()
    if kind < 0.2 and layout.data:
        data, words = changed_text(layout.data, dice)
        file = folder / f"rows{layout.suffix}"
    else:
        number = dice.randrange(len(layout.rows))
        row, words = changed_value(layout.rows[number], dice)
        rows = [*layout.rows[:number], row, *layout.rows[number + 1 :]]
        file = folder / f"rows{dice.choice(SUFFIXES)}"
        texts = [json.dumps(each) for each in rows]
        data = (f"[{', '.join(texts)}]" if file.suffix == ".json" else "\n".join(texts)).encode()
        if kind < 0.4:
            data, more = changed_text(data, dice)
            words = f"{words}; {more}"
    file.write_bytes(data)
    return file, words


def _span_of(row: Any) -> str | None:
    if isinstance(row, dict) and "resourceLogs" in row:
        return "logs"
    return f"{row['span_id']}" if isinstance(row, dict) and "body" in row and "span_id" in row else None


def what_comes_of(file: Path, source: ModuleType, keys: dict[str, Any]) -> str:
    """How reading ends: `read`, `rows rejected` or `file refused`.

    Raises:
        AssertionError: a row is lost, or a message does not say where.
    """
    told: set[str] = set()

    def hear(where: str, place: str, changes: tuple[Change, ...]) -> None:
        # A span that is none of a model, or whose conversation stands in a later one, is counted and told.
        told.update(where for change in changes if change.kind in ("span_unread", "repeated"))

    try:
        with changes_told_to(hear):
            nouns = list(source.read(source.Settings(path=str(file), **keys)))
    except DataError as error:
        words = str(error)
        assert words.startswith(str(file)), f"does not begin with the file: {words}"
        assert len(words.splitlines()) == 1, f"more than one line: {words}"
        assert len(words) < 1500, f"{len(words)} characters"
        return "file refused"
    rows = {row.where: row.value for row in read_rows(str(file))}
    accounted = {re.sub(r"#.*$", "", name) for name in (*(noun.id for noun in nouns), *told)}
    # Of a span whose events are rows of their own, one row stands for all; exported logs hold the events of many spans.
    spans = {_span_of(rows[where]) for where in accounted & rows.keys()} - {None} | ({"logs"} if accounted else set())
    lost = sorted(where for where, row in rows.items() if where not in accounted and _span_of(row) not in spans)
    assert not lost, f"rows that are neither read nor rejected: {lost}"
    assert accounted <= rows.keys(), f"rows that nobody wrote: {sorted(accounted - rows.keys())}"
    for noun in nouns:
        json.loads(to_json(noun if isinstance(noun, Rejected) else training_row(noun)))
        if isinstance(noun, Rejected):
            place = re.escape(str(file))
            assert re.match(rf"{place}:\d+: [^\n]+\Z", noun.reason), f"reason: {noun.reason}"
            assert len(noun.reason) < 1000, f"{len(noun.reason)} characters"
    return "rows rejected" if any(isinstance(noun, Rejected) for noun in nouns) else "read"


def run_cases(count: int, seed: int) -> dict[str, Any]:
    """Run so many cases, the layouts in turn; bad ones are printed."""
    every = list(layouts())
    ends: collections.Counter[str] = collections.Counter()
    for number in range(count):
        layout, dice = every[number % len(every)], random.Random(f"{seed} {number}")
        source, keys = dice.choice(READERS)
        with tempfile.TemporaryDirectory() as folder:
            file, words = damaged(layout, dice, Path(folder))
            try:
                ends[what_comes_of(file, source, keys)] += 1
            except Exception as error:  # noqa: BLE001 - whatever else is raised is what is looked for
                ends["bad"] += 1
                fault = f"{type(error).__name__}: {str(error)[:300]}"
                name = source.__name__.rsplit(".")[-1]
                print(json.dumps({"case": number, "layout": layout.name, "source": name, "damage": words, "is": fault}))
    return {"cases": count, "layouts": len(every), **dict(sorted(ends.items()))}


def main_script() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(run_cases(options.count, options.seed)))


if __name__ == "__main__":
    main_script()
