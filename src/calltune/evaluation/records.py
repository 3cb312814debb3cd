"""What an evaluation left on disk: whether it is whole, and what of it can be kept.

A file of answers may be cut, hold answers to questions that are not asked, or be altered. What is whole is kept and
only what is missing is asked again; what is left out is told.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from calltune.errors import DataError, RunFolderError
from calltune.files.json_lines import parse_own_object, write_lines
from calltune.files.manifest import MANIFEST, broken
from calltune.runtime.terminal import say


def has_rows_of(ids: Collection[str], *files: Path) -> bool:
    """Whether each file has one row for each sample, in `sample_id`, and no other; one line says what is not so."""
    for file in files:
        problem = _other_rows(file, ids)
        if problem:
            say(f"{file}: {problem}, so the stage is not complete")
            return False
    return True


def can_be_kept(file: Path, ids: Collection[str], key: str = "sample_id") -> bool:
    """Whether the answers in a file of a folder may be built upon: it is as it was sealed, or rows of it are missing.

    When every row is there and the file is not as it was sealed, nobody knows which of them was altered.
    """
    folder = file.parent
    if not (folder / MANIFEST).exists() or broken(folder, file.name) is None:
        return True
    return _other_rows(file, ids, key) is not None


def mend(file: Path, ids: Collection[str], read: Callable[[Mapping[str, Any]], object], key: str = "sample_id") -> None:
    """Remove the rows that are damaged, or answer no question that is asked, from a file of answers and its parts.

    What is removed is told, but for a last line that a kill cut off.

    Args:
        read: makes the noun of a row, or raises `RunFolderError`.
        key: the field that holds the question's id.
    """
    for part in sorted(file.parent.glob(f"{file.stem}*.jsonl")):
        lines = part.read_bytes().split(b"\n")
        is_cut = lines.pop() != b""
        kept, damaged, foreign = list[str](), list[str](), list[str]()
        for number, line in enumerate(lines, start=1):
            try:
                row = parse_own_object(line, f"{part}:{number}")
                read(row)
            except (DataError, RunFolderError) as error:
                damaged.append(str(error))
                continue
            if row.get(key) in ids:
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


def _other_rows(file: Path, ids: Collection[str], key: str = "sample_id") -> str | None:
    """How the rows of a file differ from one for each id; None when they do not."""
    if not file.exists():
        return "is missing"
    seen = set[str]()
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            found = parse_own_object(line, f"line {number}").get(key)
        except DataError as error:
            return str(error)
        if not isinstance(found, str) or found not in ids:
            return f"line {number} answers '{str(found)[:200]}', which is not asked"
        if found in seen:
            return f"line {number} answers '{found[:200]}' once more"
        seen.add(found)
    missing = [sample_id for sample_id in ids if sample_id not in seen]
    return f"lacks {len(missing):,} of {len(ids):,} questions, the first '{missing[0][:200]}'" if missing else None
