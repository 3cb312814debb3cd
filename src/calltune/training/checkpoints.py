"""Checkpoints that a kill cannot spoil.

transformers writes a checkpoint file by file. Checkpoints are sealed after all their files are written, so an unsealed
one is incomplete and does not count. The seal, `complete.json`, holds sizes and hashes. An older checkpoint is removed
only when a newer one is sealed.
"""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from transformers import TrainerCallback, TrainingArguments

from calltune.files.hashes import file_sha256
from calltune.files.json_lines import write_json
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say

SEAL = "complete.json"


@dataclass(frozen=True)
class SealedFile:
    """What the seal says of one file."""

    bytes: int
    sha256: str


_SEAL = pydantic.TypeAdapter(dict[str, SealedFile])


def seal(checkpoint: Path) -> None:
    """Say that a checkpoint is complete: write down every file of it with its size in bytes and its SHA-256."""
    # transformers writes its arguments as a pickle, which nobody reads.
    (checkpoint / "training_args.bin").unlink(missing_ok=True)
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != SEAL)
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(file_sha256, files))
    write_json(
        checkpoint / SEAL,
        {
            str(path.relative_to(checkpoint)): {"bytes": path.stat().st_size, "sha256": sha256}
            for path, sha256 in zip(files, hashes, strict=True)
        },
    )


def damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint: it is not sealed, or a file is missing, cut off or altered; else None."""
    try:
        files = _SEAL.validate_json((checkpoint / SEAL).read_bytes(), strict=True)
    except FileNotFoundError:
        return "it was not written to its end"
    # pydantic's error is a ValueError: it is no JSON, or JSON of another shape.
    except (OSError, ValueError):
        return f"{SEAL} cannot be read"
    # Sizes are compared first, because they cost nothing.
    for name, expected in files.items():
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if (size := (checkpoint / name).stat().st_size) != expected.bytes:
            return f"{name} has {size:,} bytes of {expected.bytes:,}"
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda name: file_sha256(checkpoint / name), files)
        for (name, expected), sha256 in zip(files.items(), hashes, strict=True):
            if sha256 != expected.sha256:
                return f"{name} was altered"
    return None


def in_order(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, whole or not, the latest step first."""
    checkpoints = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(checkpoints, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def newest_whole(folder: Path, stage: str) -> Path | None:
    """Return the latest whole checkpoint, or None. Newer ones that are damaged are removed, with one line for each."""
    for checkpoint in in_order(folder):
        problem = damage(checkpoint)
        if problem is None:
            return checkpoint
        say(f"warning: {stage}: {checkpoint.name} cannot be used, {problem}; it is removed")
        # Training comes by this step again, and must not write among the remains.
        shutil.rmtree(checkpoint)
    return None


class SealCheckpoints(TrainerCallback):
    """Seal each checkpoint when every process has written its part; then, and no sooner, remove those before it.

    The one of `protected_step` stays.
    """

    def __init__(self, num_kept: int | None, protected_step: Callable[[], int | None] = lambda: None) -> None:
        self._num_kept, self._protected_step, self._due = num_kept, protected_step, False

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """At the end of an epoch, and of training, save only when the evaluation that follows is over.

        It draws random numbers and adds to the history, and a resumed run does not repeat it.
        """
        self._due = ends_epoch(state) and control.should_save
        if ends_epoch(state):
            control.should_save = False
        # A resumed run averages its losses from the checkpoint on; so must one that was never interrupted.
        control.should_log = control.should_log or control.should_save or self._due

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """The last step is a checkpoint whatever the strategy is: the stage's model is made from it."""
        if self._due or state.global_step >= state.max_steps:
            control.should_save = True
        control.should_log = control.should_log or control.should_save

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Seal the checkpoint of this step."""
        ours, folder = processes(), Path(str(args.output_dir))
        ours.wait()
        if ours.rank == 0:
            seal(folder / f"checkpoint-{state.global_step}")
            for old in in_order(folder)[self._num_kept :] if self._num_kept else ():
                if str(old) != state.best_model_checkpoint and step_of(old) != self._protected_step():
                    shutil.rmtree(old)
        ours.wait()


def ends_epoch(state: Any) -> bool:
    """Say whether the step just done is the last of its epoch, or of all."""
    return state.global_step >= state.max_steps or float(state.epoch).is_integer()
