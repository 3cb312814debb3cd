"""What an evaluation left on disk: whether it is whole, and what of it can be kept.

A file of answers may be cut, hold answers to questions that are not asked, or be altered. What is whole is kept and
only what is missing is asked again; what is left out is told.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from calltune.errors import DataError, RunFolderError
from calltune.evaluation.answers import completions_of, score_from
from calltune.files.json_lines import parse_own_object, write_lines
from calltune.files.manifest import MANIFEST, broken
from calltune.files.state import ResultFile, read_state
from calltune.runtime.terminal import say
from calltune.types import Completion, Sample, Score

_Row = TypeVar("_Row", Completion, Score)

COMPLETIONS, SCORES = "completions.jsonl", "scores.jsonl"
Read = Callable[[Mapping[str, Any], str], object]
"""Makes the noun of a row and its place `file:line`, or raises `RunFolderError`."""


def is_whole(place: Path, samples: Sequence[Sample], sum_up: Callable[[list[Completion], list[Score]], object]) -> bool:
    """Whether an evaluation's files can be reported: a result, and of each sample an answer and a score that belong.

    One line says what is not so. What an older version wrote is not sealed, and another one may have other fields.

    Args:
        sum_up: the benchmark's summary of answers and scores in the order of the samples; it raises `ValueError` at
            a score that is none of its own.
    """
    file = place / COMPLETIONS
    try:
        completions = _rows_of(file, samples, completions_of(samples))
        file = place / SCORES
        scores = _rows_of(file, samples, score_from)
        sum_up(completions, scores)
        file = place / "result.json"
        read_state(file, ResultFile)
    except (DataError, RunFolderError, ValueError) as error:
        told = str(error).removeprefix(f"{file}: ").removesuffix(f"; {ResultFile.mend}")
        say(f"{file}: {told}; so the stage is not complete")
        return False
    return True


def _rows_of(file: Path, samples: Sequence[Sample], read: Callable[[Mapping[str, Any], str], _Row]) -> list[_Row]:
    rows: dict[str, _Row] = {}

    def keep(row: Mapping[str, Any], where: str) -> None:
        found = read(row, where)
        rows[found.sample_id] = found

    if problem := _other_rows(file, dict.fromkeys(sample.id for sample in samples), read=keep):
        raise RunFolderError(problem)
    return [rows[sample.id] for sample in samples]


def can_be_kept(file: Path, ids: Collection[str], key: str = "sample_id") -> bool:
    """Whether the answers in a file of a folder may be built upon: it is as it was sealed, or rows of it are missing.

    When every row is there and the file is not as it was sealed, nobody knows which of them was altered.
    """
    folder = file.parent
    if not (folder / MANIFEST).exists() or broken(folder, file.name) is None:
        return True
    return _other_rows(file, ids, key) is not None


def mend(file: Path, ids: Collection[str] | None, read: Read, key: str = "sample_id") -> None:
    """Remove the rows that are damaged, or answer no question that is asked, from a file of answers and its parts.

    What is removed is told, but for a last line that a kill cut off.

    Args:
        ids: of the questions that are asked; None where rows of others stay.
        key: the field that holds the question's id.
    """
    for part in sorted(file.parent.glob(f"{file.stem}*.jsonl")):
        lines = part.read_bytes().split(b"\n")
        is_cut = lines.pop() != b""
        kept, damaged, foreign = list[str](), list[str](), list[str]()
        for number, line in enumerate(lines, start=1):
            try:
                row = parse_own_object(line, f"{part}:{number}")
                read(row, f"{part}:{number}")
            except (DataError, RunFolderError) as error:
                damaged.append(str(error))
                continue
            if ids is None or row.get(key) in ids:
                kept.append(line.decode("utf-8"))
            else:
                foreign.append(str(row.get(key)))
        if damaged:
            say(f"warning: {len(damaged):,} rows cannot be read and are asked again; the first, {damaged[0]}")
        if foreign:
            told = f"answer questions that are not asked, the first '{foreign[0][:200]}'; they are left out"
            say(f"warning: {part}: {len(foreign):,} rows {told}")
        if damaged or foreign or is_cut:
            write_lines(part, kept)


def _other_rows(file: Path, ids: Collection[str], key: str = "sample_id", read: Read | None = None) -> str | None:
    """How the rows of a file differ from one for each id, which `read` takes; None when they do not."""
    if not file.exists():
        return "is missing"
    seen = set[str]()
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            row = parse_own_object(line, f"line {number}")
            if read is not None:
                read(row, f"line {number}")
        except (DataError, RunFolderError) as error:
            return str(error)
        found = row.get(key)
        if not isinstance(found, str) or found not in ids:
            return f"line {number} answers '{str(found)[:200]}', which is not asked"
        if found in seen:
            return f"line {number} answers '{found[:200]}' once more"
        seen.add(found)
    missing = [sample_id for sample_id in ids if sample_id not in seen]
    return f"lacks {len(missing):,} of {len(ids):,} questions, the first '{missing[0][:200]}'" if missing else None
