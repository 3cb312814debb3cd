"""Hashes that say whether two files, or two values, are the same."""

import hashlib
from pathlib import Path
from typing import Any

from calltune.files.json_lines import json_text


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_sha256(value: Any) -> str:
    """The SHA-256 of a JSON value, in hex; the order of keys does not matter.

    Raises:
        NotFiniteError: a number in it is nan or infinite.
    """
    return hashlib.sha256(json_text(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
