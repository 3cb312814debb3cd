"""Kill a stage with SIGKILL at random moments, run it again until it is through, and compare it with one never killed.

Run as `python tests/material/kill_script.py run.toml sft --kills 10 [key=value ...]`, after `calltune prepare`; the
stage's folder of an undisturbed run is kept as `<stage>-undisturbed`. The last line is JSON. Every attempt is a fork of
this process, which has imported what takes long, so that most kills fall into the stage itself.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.files.hashes import file_sha256


def begin(words: list[str]) -> int:
    """Begin the command in a fork; its process number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        # What an attempt prints is of no interest unless it fails by itself.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        code = main(words)
        os._exit(code)
    return child


def came_through(child: int, words: list[str]) -> bool:
    """Wait for its end: whether it came through or was killed; no other end is accepted."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"{words} ended by itself with {status}")
    return status == 0


def wait_for(child: int, step: int, folder: Path) -> None:
    """Return when a checkpoint of this step or a later one begins to be written (at once for 0), or at its end."""
    while step > 0 and not any(number >= step for number in steps_in(folder, "checkpoint-*")):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.001)


def steps_in(folder: Path, pattern: str) -> list[int]:
    """The steps of the checkpoints whose path has the pattern."""
    names = [path.relative_to(folder / "checkpoints").parts[0] for path in folder.glob(f"checkpoints/{pattern}")]
    return [int(name.split("-")[1]) for name in names]


def result(folder: Path) -> dict:
    """What must not depend on kills: weights, the history without clocks, the counts of all steps, and the guard."""
    log = json.loads((folder / "history.json").read_text())["log"]
    manifest = json.loads((folder / "manifest.json").read_text())
    timed = ("runtime", "per_second", "step_time")
    return {
        "weights": file_sha256(folder / "model.safetensors"),
        "history": [{key: value for key, value in entry.items() if not key.endswith(timed)} for entry in log],
        "counts": [
            {name: count for name, count in manifest["shared_prefixes"].items() if name.endswith("tokens")},
            manifest.get("passes"),
            manifest["counted_from_step"],
        ],
        "guard": _guarded(folder / "guard.json"),
    }


def _guarded(file: Path) -> dict | None:
    """What a guard found, without its clock; how much it asks hangs on that, where it has no time to ask all."""
    found = json.loads(file.read_text()) if file.exists() else None
    for check in found["checks"] if found else ():
        del check["seconds"]
    return found


def compare(file: Path, stage: str, kills: int, overrides: list[str], seed: int) -> dict:
    words, chance = [stage, str(file), *overrides], random.Random(seed)
    folder = load_config(file, overrides).run_folder / stage
    came_through(begin(words), words)
    last = json.loads((folder / "manifest.json").read_text())["steps"]
    undisturbed = folder.with_name(f"{stage}-undisturbed")
    shutil.rmtree(undisturbed, ignore_errors=True)
    folder.rename(undisturbed)
    steps = []
    # Moments spread over the stage, between the checkpoints and while one is written.
    for moment in sorted(chance.uniform(0, last) for _ in range(kills)):
        child = begin(words)
        wait_for(child, int(moment), folder)
        time.sleep(chance.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        if came_through(child, words):
            break
        steps.append(max(steps_in(folder, "*/complete.json"), default=0))
    came_through(begin(words), words)
    before, after = result(undisturbed), result(folder)
    return {
        "stage": stage,
        "kills": len(steps),
        "checkpoint_at_each_kill": steps,
        "same_weights": before["weights"] == after["weights"],
        "same_history": before["history"] == after["history"],
        "same_counts": before["counts"] == after["counts"],
        "same_guard": before["guard"] == after["guard"],
        "steps": json.loads((folder / "manifest.json").read_text())["steps"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_file", type=Path)
    parser.add_argument("stage", choices=["sft", "dpo", "grpo"])
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_intermixed_args()
    # For every fork at once.
    import calltune.verbs.dpo
    import calltune.verbs.grpo
    import calltune.verbs.sft  # noqa: F401

    print(json.dumps(compare(options.run_file, options.stage, options.kills, options.overrides, options.seed)))
