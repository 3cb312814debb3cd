"""Disturb a whole run again and again, let it come through, and compare it with one that was left in peace.

    python tests/material/disturb_script.py kills --count 20
    python tests/material/disturb_script.py full-disk --count 5     (needs root, to mount disks of a given size)

By default the run is a toy of seconds; `--quickstart` takes the quickstart, with a checkpoint at every twentieth of a
stage. A kill is SIGKILL after a random time; a disk has room for a random share of what a stage writes, and then grows.
The last line is JSON.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import End, import_all, in_fork, must
from toy_run import ROOT, begun, outcome

QUICKSTART = ["run", "examples/quickstart.toml", "sft.save_steps=0.05", "dpo.save_steps=0.05", "tracking.mlflow=false"]
LONGEST, LARGE = 3600, 1 << 32
STAGES = {
    "prepare": ("data",),
    "sft": ("sft",),
    "dpo": ("dpo", "reference"),
    "evaluate": ("eval",),
    "report": ("report.json", "report.html", "report"),
}
"""What each verb writes into the run's folder."""


def kill_after(seconds: float) -> Callable[[], None]:
    """Makes a process kill itself after so many seconds, as the kernel does."""

    def watch() -> None:
        def look() -> None:
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=look, daemon=True).start()

    return watch


def where(folder: Path) -> str:
    """The newest file of a run: what it was about."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return str(max(files, key=lambda path: path.stat().st_mtime_ns).relative_to(folder)) if files else "nothing yet"


class Disturbance:
    """A run that is left in peace once, and then disturbed."""

    def __init__(self, work: Path, quickstart: bool, seed: int) -> None:
        self._work, self._quickstart, self.chance = work, quickstart, random.Random(seed)
        self.words = QUICKSTART if quickstart else ["run", "run.json"]
        self._run = "runs/quickstart" if quickstart else "runs/toy"
        peace = self.begin(work / "peace")
        started = time.monotonic()
        must(self.words, peace)
        self.seconds = time.monotonic() - started
        self.expected = outcome(peace / self._run)

    def begin(self, folder: Path) -> Path:
        """A working folder in which nothing has been run."""
        if self._quickstart:
            folder.mkdir(exist_ok=True)
            (folder / "examples").symlink_to(ROOT / "examples")
        elif (self._work / "begun").exists():
            shutil.copytree(self._work / "begun", folder, dirs_exist_ok=True)
        else:
            begun(self._work / "begun")
            return self.begin(folder)
        return folder

    def run(self, folder: Path, begin: Callable[[], None] = lambda: None) -> End:
        """Run it once in a working folder."""
        return in_fork(self.words, folder, LONGEST, begin)

    def judge(self, folder: Path) -> dict[str, Any]:
        """Whether it came out as the run that was left in peace, and what it left lying about."""
        found = outcome(folder / self._run)
        return {"differences": _differences(self.expected, found)[:20], "left_over": _left_over(folder)}

    def kills(self, count: int) -> list[dict[str, Any]]:
        """Kill runs `count` times in all; each is begun again after each kill, until it is through."""
        runs, killed = [], 0
        while killed < count:
            folder, moments = self.begin(self._work / f"killed-{len(runs)}"), []
            while True:
                life = self.chance.uniform(0.1, 2.5 * self.seconds / max(count, 4))
                end = self.run(folder, kill_after(life) if killed < count else lambda: None)
                if end.code != -signal.SIGKILL:
                    break
                killed += 1
                moments.append(where(folder / self._run) if (folder / self._run).exists() else "nothing yet")
            if end.code != 0:
                raise SystemExit(f"ended by itself with {end.code}: {end.error}")
            runs.append({"killed_while_writing": moments, **self.judge(folder)})
        return runs

    def full_disks(self, count: int) -> list[dict[str, Any]]:
        """Run each stage in turn on a disk that has no room for all that it writes; then make the disk larger."""
        runs = []
        for number in range(count):
            folder = self._work / f"disk-{number}"
            folder.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", str(folder)], check=True)
            try:
                runs.append(self._full_disk(self.begin(folder), list(STAGES)[number % len(STAGES)]))
            finally:
                subprocess.run(["umount", str(folder)], check=True)
        return runs

    def _full_disk(self, folder: Path, stage: str) -> dict[str, Any]:
        for verb in list(STAGES)[: list(STAGES).index(stage)]:
            must([verb, *self.words[1:]], folder)
        made = [self._work / "peace" / self._run / name for name in STAGES[stage]]
        room = int(self.chance.random() * sum(_bytes(path) for path in made))
        _resize(folder, shutil.disk_usage(folder).used + max(room, 4096))
        first = self.run(folder)
        row: dict[str, Any] = {"stage": stage, "room_for_bytes": room, "code": first.code}
        row |= {"line": first.error.rstrip().splitlines()[-1:], "fault": first.fault(LONGEST)}
        row["left_over_when_full"] = _left_over(folder)
        _resize(folder, LARGE)
        second = self.run(folder)
        return row | {"then": second.code} | (self.judge(folder) if second.code == 0 else {"error": second.error})


def _left_over(folder: Path) -> list[str]:
    """Files that have a name which only a file in the making has."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if "tmp" in path.name or ".part" in path.name]


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return sum(file.stat().st_size for file in files)


def _resize(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def _differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two documents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [place for key in keys for place in _differences(one.get(key), other.get(key), f"{path}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [place for number, pair in pairs for place in _differences(*pair, f"{path}.{number}")]
    return [] if one == other else [f"{path}: {str(one)[:60]} != {str(other)[:60]}"]


def main_script() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["kills", "full-disk"])
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quickstart", action="store_true")
    options = parser.parse_args()
    import_all()
    with tempfile.TemporaryDirectory() as work:
        disturbance = Disturbance(Path(work), options.quickstart, options.seed)
        runs = disturbance.kills if options.what == "kills" else disturbance.full_disks
        print(json.dumps({"seconds": round(disturbance.seconds, 1), "runs": runs(options.count)}))


if __name__ == "__main__":
    main_script()
