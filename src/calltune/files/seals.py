"""Seals: the sizes and hashes of files, written down when they are whole, and held against them later.

Reading gigabytes of weights before every command would cost minutes. So of a big file the time of its last change is
sealed too, and while size and time are as they were the file is not read again; where the time alone differs, as in a
copy, it is read after all. Small files are always read: they are what people and other programs alter.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from calltune.files.hashes import file_sha256

BIG_BYTES = 64 * 2**20
"""From this size on a file is big: reading it takes a tenth of a second or more."""


@dataclass(frozen=True, slots=True)
class FileSeal:
    """What one file was: its SHA-256 in hex, its size in bytes, and when it was changed last, of big files alone."""

    sha256: str
    num_bytes: int | None = None
    mtime_ns: int | None = None


def seal_files(folder: Path, names: Iterable[str]) -> dict[str, FileSeal]:
    """The seals of some of a folder's files, read whole."""
    names = sorted(names)
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: _seal(folder / name), names), strict=True))


def sealed_sha256(path: Path, seal: FileSeal | None) -> str:
    """A file's hash: the seal's when size and time of a big file are the seal's, else of its bytes as they are now."""
    if seal is not None and seal.mtime_ns is not None:
        found = path.stat()
        if (found.st_size, found.st_mtime_ns) == (seal.num_bytes, seal.mtime_ns):
            return seal.sha256
    return file_sha256(path)


def broken_seal(folder: Path, seals: Mapping[str, FileSeal]) -> str | None:
    """What is not as it was sealed: a file missing, of another size, or altered; None when all are as they were."""
    unread = []
    # Sizes first: they cost nothing.
    for name, seal in seals.items():
        path = Path(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            return f"{name[:200]!r} is no file of this folder"
        # A file may lie elsewhere and be linked here.
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        found = path.stat()
        if seal.num_bytes is not None and found.st_size != seal.num_bytes:
            return f"{name} has {found.st_size:,} bytes of {seal.num_bytes:,}"
        if seal.mtime_ns is None or found.st_mtime_ns != seal.mtime_ns:
            unread.append(name)
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda name: file_sha256(folder / name), unread)
        return next((f"{n} was altered" for n, h in zip(unread, hashes, strict=True) if h != seals[n].sha256), None)


def _seal(path: Path) -> FileSeal:
    # Before it is read: what is written meanwhile is found out the next time.
    found = path.stat()
    is_big = found.st_size >= BIG_BYTES
    return FileSeal(file_sha256(path), found.st_size, found.st_mtime_ns if is_big else None)
