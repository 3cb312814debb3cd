"""`calltune report`: every checkpoint's results side by side, on the terminal and in `report.json`."""

from pathlib import Path
from typing import Any

from calltune.config import Config
from calltune.errors import RunFolderError
from calltune.manifest import read_json, versions
from calltune.rows import write_json
from calltune.terminal import say, show_table
from calltune.tracking import track_report

_CHECKPOINTS = ("base", "sft", "dpo")


def run(config: Config) -> Path:
    """Gather `eval/*/*/result.json` into `report.json` and print the ladder.

    Returns:
        The path of `report.json`.

    Raises:
        RunFolderError: nothing was evaluated yet.
    """
    folder = config.run_folder
    results = [
        read_json(folder / "eval" / checkpoint / entry.title / "result.json")
        for entry in config.evaluate.benchmarks
        for checkpoint in _CHECKPOINTS
        if (folder / "eval" / checkpoint / entry.title / "manifest.json").exists()
    ]
    if not results:
        raise RunFolderError(f"{folder}: nothing was evaluated yet; run evaluate first")
    for benchmark in dict.fromkeys(result["benchmark"] for result in results):
        _show([result for result in results if result["benchmark"] == benchmark])
    stages = {
        name: read_json(folder / name / "manifest.json")
        for name in ("data", "sft", "dpo")
        if (folder / name / "manifest.json").exists()
    }
    path = folder / "report.json"
    write_json(
        path,
        {"name": config.name, "model": config.model, "results": results, "stages": stages, "versions": versions()},
    )
    track_report(config)
    say(f"written: {path}")
    return path


def _show(results: list[dict[str, Any]]) -> None:
    first = results[0]
    metrics = [name for name in first["metrics"] if not name.startswith("recall_") or name.endswith("_norm")]
    if first["primary_metric"] in metrics:
        metrics.remove(first["primary_metric"])
        metrics.insert(0, first["primary_metric"])
    say("")
    show_table(
        f"{first['benchmark']} ({first['prompt']} prompt, {first['num_samples']:,} questions, 95 % intervals)",
        ("", *(result["checkpoint"] for result in results)),
        [
            *((name, *(_figure(result, name) for result in results)) for name in metrics),
            ("correct / wrong / malformed / truncated / errors", *(_bins(result) for result in results)),
        ],
    )


def _figure(result: dict[str, Any], metric: str) -> str:
    value, interval = result["metrics"].get(metric), result["intervals"].get(metric)
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")


def _bins(result: dict[str, Any]) -> str:
    return " / ".join(str(result[f"num_{name}"]) for name in ("correct", "wrong", "malformed", "truncated", "errors"))
