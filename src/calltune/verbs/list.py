"""`calltune list`: the runs in a folder, with what became of each; reads their files alone and writes nothing."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from calltune.config.model_name import model_name
from calltune.errors import CalltuneError, ConfigError
from calltune.files.json_lines import read_json
from calltune.files.lock_file import LOCK, owner_now, start_of
from calltune.files.manifest import MANIFEST
from calltune.files.state import Manifest, RunConfig, read_state
from calltune.runtime.terminal import say, show_table
from calltune.runtime.told import tell_program

_STAGES = {
    "data": "prepared",
    "sft": "sft trained",
    "mined": "mined",
    "dpo": "dpo trained",
    "grpo": "grpo trained",
    "eval": "evaluated",
}


def run(folder: Path) -> list[dict[str, Any]]:
    """Print every run in a folder, the newest first: its name, date, model, score, state and cost.

    Returns:
        What was told, as JSON has it.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of runs")
    places = [folder] if (folder / "config.json").is_file() else sorted(p.parent for p in folder.glob("*/config.json"))
    rows = sorted(map(_row, places), key=lambda row: row["date"], reverse=True)
    tell_program(runs=rows)
    if not rows:
        say(f"no run in {folder}; a run file's 'output' names the folder")
        return rows
    columns = ("name", "date", "model", "score", "state", "cost")
    show_table(f"runs in {folder}", columns, [tuple(_shown(row, column) for column in columns) for row in rows])
    return rows


def _shown(row: Mapping[str, Any], column: str) -> str:
    if column == "score":
        return "-" if row["score"] is None else f"{100 * row['score']:.1f} % {row['metric']}" + _before(row)
    if column == "cost":
        price = "" if row["usd"] is None else f", {row['usd']:.2f} USD"
        hours = row["seconds"] / 3600
        return (f"{hours:.1f} h" if hours >= 1 else f"{row['seconds'] / 60:.1f} min") + price
    return str(row[column])


def _before(row: Mapping[str, Any]) -> str:
    return "" if row["score_before"] is None else f" (from {100 * row['score_before']:.1f})"


def _row(folder: Path) -> dict[str, Any]:
    """One run. What cannot be read of it is told as its state; the time is that of the stages that are complete."""
    row: dict[str, Any] = {"name": folder.name, "folder": str(folder), "model": "-"}
    row |= {"score": None, "score_before": None, "metric": "", "seconds": 0.0, "usd": None}
    manifests = sorted(p for depth in ("*", "eval/*/*") for p in folder.glob(f"{depth}/{MANIFEST}"))
    files = [*manifests, folder / "config.json", folder / "report.json"]
    newest = max(path.stat().st_mtime for path in files if path.exists())
    row["date"] = datetime.fromtimestamp(newest).astimezone().isoformat(" ", "minutes")[:16]
    try:
        config = read_state(folder / "config.json", RunConfig)
        row["model"] = model_name(config["model"])
        told = [read_state(path, Manifest) for path in manifests]
        row["seconds"] = float(sum(each.get("train_seconds") or each.get("seconds") or 0 for each in told))
        price = (config.get("plan") or {}).get("price_per_hour")
        row["usd"] = None if price is None else round(price * row["seconds"] / 3600, 2)
        row["state"] = _state(folder, manifests)
        if (folder / "report.json").exists():
            row |= _score(read_json(folder / "report.json", "run report again"))
    except CalltuneError as error:
        row["state"] = f"cannot be read: {error}"
    return row


def _state(folder: Path, manifests: list[Path]) -> str:
    """The last stage that is complete, and the command that works on the run just now, if this machine runs it."""
    complete = {path.relative_to(folder).parts[0] for path in manifests}
    reached = [words for stage, words in _STAGES.items() if any(name.startswith(stage) for name in complete)]
    owner = owner_now(folder / LOCK)
    works = owner is not None and start_of(owner.process) == owner.started
    return (reached[-1] if reached else "begun") + (f"; works: {owner.command}" if owner and works else "")


def _score(report: Any) -> dict[str, Any]:
    """The first figure at the report's top, before and after, and the verdict; nothing of an older version's report."""
    verdict = report.get("verdict") if isinstance(report, Mapping) else None
    if not isinstance(verdict, Mapping):
        return {}
    tile = next(iter(verdict.get("tiles") or ()), {})
    return {
        "state": str(verdict.get("title", verdict.get("word"))),
        "score": tile.get("after"),
        "score_before": tile.get("before"),
        "metric": str(tile.get("name", "")),
    }
