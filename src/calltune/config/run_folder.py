"""A run's folder in place of its run file: `config.json` in it is what the run file was."""

import json
from collections.abc import Sequence
from pathlib import Path

from calltune.errors import ConfigError


def as_run_file(place: Path, words: Sequence[str]) -> tuple[Path, list[str]]:
    """The run file and the overrides for `report PLACE WORDS`, where words may be folders of runs to compare with.

    A folder may have been moved or renamed since its run file was written: it stays the folder of its run.

    Raises:
        ConfigError: a folder is no run's.
    """
    folders = [word for word in words if "=" not in word and Path(word).is_dir()]
    overrides = [word for word in words if word not in folders]
    if folders:
        overrides.append(f"report.compare={json.dumps(folders, allow_nan=False)}")
    if not place.is_dir():
        return place, overrides
    file = place / "config.json"
    if not file.is_file():
        raise ConfigError(f"{place}: is not the folder of a run (it holds no config.json)")
    return file, [*_placed(file, place.resolve()), *overrides]


def _placed(file: Path, folder: Path) -> list[str]:
    """What has to be laid over a `config.json` whose folder was moved; none where it lies as it was written."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if Path(told["output"], told["name"]).resolve() == folder:
            return []
    except (OSError, ValueError, TypeError, KeyError):
        # Whoever reads it next tells what is wrong with it.
        pass
    placed = {"output": str(folder.parent), "name": folder.name}
    return [f"{key}={json.dumps(value, allow_nan=False)}" for key, value in placed.items()]
