"""Where each kept row is written: to which file, in which order and how often. No row is lost on the way."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calltune.data.doctor.facts import Facts
from calltune.data.doctor.spool import Spool
from calltune.data.doctor.tell import Diagnosis
from calltune.files.hashes import value_sha256
from calltune.files.json_lines import write_lines

_FILES = {
    ("example", False): "train",
    ("preference", False): "preferences",
    ("example", True): "validation",
    ("preference", True): "validation_preferences",
}
"""The file for each kind of row, and for whether its question is held back."""


@dataclass(slots=True)
class _Books:
    """How many lines were written and how many rows were rejected, by source."""

    written: Counter[int] = field(default_factory=Counter)
    repeated: Counter[int] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)


def write_rows(
    diagnosed: Diagnosis, titles: Sequence[str], spool: Spool, folder: Path, seed: int, fraction: float
) -> dict[str, int]:
    """Write `train`, `preferences`, their validation parts and `rejected`, and return how many rows each has.

    Args:
        fraction: the share of questions held back. Rows of one first question, the turns of one conversation, and a row
            with the one that it was made from fall on one side.
    """
    questions = {facts.id: facts.question for facts in diagnosed.rows if not facts.parent}
    parts: dict[str, list[Facts]] = {name: [] for name in _FILES.values()}
    for facts in diagnosed.rows:
        if facts.verdict is None:
            question = questions.get(facts.parent, facts.question)
            parts[_FILES[facts.kind, _side(question, seed) < fraction]].append(facts)
    books, counts = _Books(), {"rows_read": len(diagnosed.rows)}
    for name, part in parts.items():
        copies = diagnosed.judged.copies if name in ("train", "preferences") else {}
        counts[name] = write_lines(folder / f"{name}.jsonl", _lines(_shapes_first(part), copies, spool, books))
    rejected = [facts for facts in diagnosed.rows if facts.verdict]
    counts["rejected"] = write_lines(folder / "rejected.jsonl", _rejected_lines(rejected, titles, spool, books))
    for source, read in Counter(facts.source for facts in diagnosed.rows).items():
        if read + books.repeated[source] != books.written[source] + books.rejected[source]:
            raise AssertionError(f"{titles[source]}: {read} rows were read, but the books say {books}")
    return counts


def _side(text: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on the text and the seed alone, so equal questions fall on one side."""
    return int(value_sha256([seed, text])[:12], 16) / 16**12


def _shapes_first(part: Sequence[Facts]) -> list[Facts]:
    """Return the rows in their order, but with rows of each shape at the beginning.

    datasets 5 learns from a file's first 10 MB which objects differ in their keys and must be kept apart. It refuses a
    file in which the first call comes after that. Two rows that differ deep down are enough for each way to hold calls
    and tools.
    """
    seen: dict[int, set[bytes]] = {}
    first, rest = list[Facts](), list[Facts]()
    for facts in part:
        bits, deep = facts.shape
        known = seen.setdefault(bits, set())
        if len(known) < 2 and deep not in known:
            known.add(deep)
            first.append(facts)
        else:
            rest.append(facts)
    return first + rest


def _lines(part: Sequence[Facts], copies: dict[int, int], spool: Spool, books: _Books) -> Iterator[str]:
    for facts in part:
        line = spool.line(facts)
        yield line
        times = copies.get(id(facts), 1)
        for number in range(2, times + 1):
            yield json.dumps({**json.loads(line), "id": f"{facts.id}~{number}"}, ensure_ascii=False, allow_nan=False)
        books.written[facts.source] += times
        books.repeated[facts.source] += times - 1


def _rejected_lines(rows: Sequence[Facts], titles: Sequence[str], spool: Spool, books: _Books) -> Iterator[str]:
    for facts in rows:
        assert facts.verdict, "only rejected rows are written here"
        finding, reason = facts.verdict
        told = {"id": facts.id, "source": titles[facts.source], "finding": finding, "reason": reason}
        yield f'{json.dumps(told, ensure_ascii=False, allow_nan=False)[:-1]}, "row": {spool.line(facts)}}}'
        books.rejected[facts.source] += 1
