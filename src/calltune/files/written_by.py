"""Which version of calltune wrote a file of a run, and whether it is newer than this one."""

import re
from collections.abc import Mapping
from typing import Any

from calltune import __version__


def is_newer(version: str) -> bool:
    """Whether a version of calltune, such as `0.2.0`, is newer than this one."""
    return _numbers(version) > _numbers(__version__)


def _numbers(version: str) -> list[int]:
    """The release of a version: `0.1.1.dev3+g1a2b3c` is not newer than 0.1.1."""
    release = re.match(r"[\d.]*", version)
    return [int(part) for part in re.findall(r"\d{1,9}", release[0] if release else "")][:3]


def who_wrote(value: Mapping[str, Any]) -> str:
    """Half a sentence when a newer calltune wrote the state with these `versions`, else an empty string."""
    versions = value.get("versions")
    version = str(versions.get("calltune", "")) if isinstance(versions, dict) else ""
    return f"; calltune {version} wrote it, and this is {__version__}" if is_newer(version) else ""
