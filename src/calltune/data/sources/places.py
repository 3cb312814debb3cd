"""Whether the paths that a source's keys name are there, as far as it can be seen without reading them."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calltune.data.sources.files import FileSettings, data_files
from calltune.data.sources.mcp_tools import ToolSettings, is_server
from calltune.errors import DataError


def misplaced(settings: Any, where: str) -> Iterator[str]:
    """Yield what is wrong with the paths of a source, a line each.

    Args:
        where: the source's place in the run file.
    """
    if isinstance(settings, FileSettings):
        try:
            data_files(settings.path)
        except DataError as error:
            yield f"{where}: {error}{_nearest(settings.path)}"
    tools = settings.tools if isinstance(settings, ToolSettings) else None
    if tools and not is_server(tools) and not Path(tools).is_file():
        yield f"{where}.tools: {tools}: no such file{_nearest(tools)}"


def _nearest(path: str) -> str:
    """Return the question whether a file of a similar name was meant, if the folder has one."""
    place = Path(path)
    if place.exists() or not place.parent.is_dir():
        return ""
    near = difflib.get_close_matches(place.name, [each.name for each in place.parent.iterdir()], n=1, cutoff=0.75)
    return f", did you mean '{place.with_name(near[0])}'?" if near else ""
