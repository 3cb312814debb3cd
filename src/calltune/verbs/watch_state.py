"""What `watch` sees of a run: its folder's files, read and never written, whatever is half written there."""

import contextlib
import io
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import CalltuneError
from calltune.evaluation.answers import completion_from
from calltune.evaluation.jobs import Job, read_jobs
from calltune.files.lock_file import LOCK, owner_now, start_of
from calltune.files.manifest import MANIFEST
from calltune.files.state import STEPS_NOW, StepsNow, read_state
from calltune.types import Completion, Sample

_SECONDS_OF_LIFE = 60.0
"""An owner on another machine that gave no sign for as long is taken for dead; it gives one every ten seconds."""

_NUM_ANSWERS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """A run at one moment.

    `doing` is what is under way and `stages` what is complete. `seconds_left` are those of what is under way, from the
    speed since it was begun. `answers` are the first ones of an evaluation, each after its question.
    """

    command: str | None
    doing: str
    stages: tuple[str, ...]
    done: int = 0
    total: int | None = None
    seconds_left: float | None = None
    loss: float | None = None
    answers: tuple[tuple[Sample, Completion], ...] = ()


@dataclass(slots=True)
class Watcher:
    """Looks at a run again and again; the questions are read once, when there are any."""

    config: Config
    _jobs: dict[str, Job] = field(default_factory=dict)

    def look(self) -> Seen:
        """The run as it is now."""
        folder = self.config.run_folder
        command = working_command(folder)
        stages = tuple(self._complete())
        trained = [name for name in self.config.checkpoints if name != "base" and name not in stages]
        for name in trained:
            note = folder / name / "checkpoints" / STEPS_NOW
            with contextlib.suppress(CalltuneError, OSError):
                now, age = read_state(note, StepsNow), time.time() - note.stat().st_mtime
                taken = (now["step"] - now["begun_from"]) or None
                left = now["seconds"] / taken * (now["steps"] - now["step"]) if taken else None
                # A resumed stage says nothing until its first step; what it left before is as old as its checkpoint.
                left = None if left is None else max(0.0, left - age)
                return Seen(command, f"training {name}", stages, now["step"], now["steps"], left, now.get("loss"))
        asking = self._asking()
        if asking is not None:
            return self._evaluation(command, stages, asking)
        return Seen(command, "", stages)

    def _complete(self) -> Iterator[str]:
        folder = self.config.run_folder
        if (folder / "data" / MANIFEST).exists():
            yield "data"
        yield from (name for name in self.config.checkpoints if (folder / name / MANIFEST).exists())
        for manifest in sorted(folder.glob(f"eval/*/*/{MANIFEST}")):
            yield f"{manifest.parts[-3]} on {manifest.parts[-2]}"
        if (folder / "report.json").exists():
            yield "report"

    def _asking(self) -> Path | None:
        """The evaluation that was begun last and is not complete."""
        begun = [p.parent for p in self.config.run_folder.glob("eval/*/*/inputs.json")]
        open_ones = [place for place in begun if not (place / MANIFEST).exists()]
        return max(open_ones, key=lambda place: (place / "inputs.json").stat().st_mtime, default=None)

    def _evaluation(self, command: str | None, stages: tuple[str, ...], place: Path) -> Seen:
        rows = [row for part in sorted(place.glob("completions*.jsonl")) for row in _whole_lines(part)]
        job = self._job(place.name)
        samples = {sample.id: sample for sample in job.samples} if job else {}
        total, seconds = len(samples) or None, time.time() - (place / "inputs.json").stat().st_mtime
        left = seconds / len(rows) * max(0, total - len(rows)) if rows and total else None
        answers = []
        for row in rows[:_NUM_ANSWERS]:
            with contextlib.suppress(CalltuneError):
                completion = completion_from(row)
                if completion.sample_id in samples and not completion.logprobs:
                    answers.append((samples[completion.sample_id], completion))
        doing = f"asking {place.parent.name} {place.name}"
        return Seen(command, doing, stages, len(rows), total, left, answers=tuple(answers))

    def _job(self, title: str) -> Job | None:
        """A benchmark's questions, which are there once an evaluation has begun; what reading them says is not ours."""
        if not self._jobs:
            with contextlib.suppress(CalltuneError), contextlib.redirect_stdout(io.StringIO()):
                self._jobs = {job.title: job for job in read_jobs(self.config)}
        return self._jobs.get(title)


def working_command(folder: Path) -> str | None:
    """The command that writes into a run's folder now, on this machine or another one; None where none does."""
    lock = folder / LOCK
    owner = owner_now(lock)
    if owner is None:
        return None
    if owner.host == socket.gethostname():
        return owner.command if start_of(owner.process) == owner.started else None
    try:
        is_alive = time.time() - lock.stat().st_mtime < _SECONDS_OF_LIFE
    except OSError:
        is_alive = False
    return owner.command if is_alive else None


def _whole_lines(file: Path) -> list[Mapping[str, Any]]:
    """The rows of a file that somebody appends to, but the last one where it is not whole yet."""
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                rows.append(row)
    return rows
