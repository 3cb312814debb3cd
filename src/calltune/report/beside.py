"""What a report shows beside the results: files that the stages of a run may have left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltune.errors import RunFolderError
from calltune.files.manifest import MANIFEST, broken
from calltune.files.state import State, read_state


@dataclass(frozen=True, slots=True)
class Stage:
    """What is told of a stage's manifest, None where it says nothing of it; `manifest` is for `report.json`.

    `kept` is what `kept_by_guard` says.
    """

    seconds: float | None
    counts: Mapping[str, int]
    steps: int | None
    trainable_share: float | None
    inputs: Mapping[str, Any]
    sha256: Mapping[str, str]
    versions: Mapping[str, str]
    kept: str
    manifest: Mapping[str, Any]


def stage_of_manifest(manifest: Mapping[str, Any]) -> Stage:
    """Of the files that a stage sealed, its rows and weights are told; others hold clocks, and differ each time."""
    sealed = manifest.get("sha256", {})
    sha256 = {name: value for name, value in sealed.items() if name.endswith((".jsonl", ".safetensors"))}
    told = {key: value for key, value in manifest.items() if key not in ("bytes", "mtime_ns")} | {"sha256": sha256}
    return Stage(
        manifest.get("train_seconds", manifest.get("seconds")),
        manifest.get("counts", {}),
        manifest.get("steps"),
        manifest.get("trainable_share"),
        manifest["inputs"],
        sha256,
        manifest.get("versions", {}),
        kept_by_guard(manifest),
        told,
    )


def kept_by_guard(manifest: Mapping[str, Any]) -> str:
    """Of which step a stage's model is, and why, where the guard chose one before the last; else an empty text."""
    guard, steps = manifest.get("guard") or {}, manifest.get("steps")
    step, fallen = guard.get("kept_step"), guard.get("collapse")
    if step is None or steps is None or (step == steps and not fallen):
        return ""
    why = f"training ended at step {steps:,}, as {fallen}" if fallen else f"the guard's best check of {steps:,} steps"
    return f"the model is that of step {step:,}: {why}"


class Beside:
    """Reads such files; one that cannot be read is a problem, which is kept."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self.problems: list[str] = []

    def read(self, folders: Sequence[str], name: str, shape: type[State]) -> dict[str, dict[str, Any]]:
        """The file of that name in each of these folders that has it."""
        found = {}
        for folder in folders:
            path = self._run_folder / folder / name
            if not path.exists():
                continue
            try:
                if (path.parent / MANIFEST).exists() and name != MANIFEST and (problem := broken(path.parent, name)):
                    raise RunFolderError(f"{path.parent}: {problem}: it is not as it was sealed; {shape.mend}")
                found[folder] = read_state(path, shape)
            except RunFolderError as error:
                self.problems.append(f"not shown: {error}")
        return found
