"""Kill a stage with SIGKILL at random moments, run it again until it is through, and compare it with one never killed.

Run as `python tests/kill_script.py run.toml sft --kills 10 [key=value ...]`, after `calltune prepare`; the stage's
folder of an undisturbed run is kept as `<stage>-undisturbed`. The last line is JSON. Every attempt is a fork of this
process, which has imported what takes long, so that most kills fall into the stage itself.
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
from calltune.manifest import file_sha256
from calltune.run_file import load_config


def attempt(words: list[str], seconds: float | None) -> bool:
    """Run the command in a fork and kill it after some seconds; whether it came through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        # What an attempt prints is of no interest unless it fails by itself.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        code = main(words)
        os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"{words} ended by itself with {status}")
    return status == 0


def result(folder: Path) -> dict:
    """What must not depend on kills: the weights, and the history without clocks."""
    log = json.loads((folder / "history.json").read_text())["log"]
    timed = ("runtime", "per_second")
    return {
        "weights": file_sha256(folder / "model.safetensors"),
        "history": [{key: value for key, value in entry.items() if not key.endswith(timed)} for entry in log],
    }


def compare(file: Path, stage: str, kills: int, overrides: list[str], seed: int) -> dict:
    words, chance = [stage, str(file), *overrides], random.Random(seed)
    folder = load_config(file, overrides).run_folder / stage
    start = time.monotonic()
    attempt(words, None)
    duration = time.monotonic() - start
    undisturbed = folder.with_name(f"{stage}-undisturbed")
    shutil.rmtree(undisturbed, ignore_errors=True)
    folder.rename(undisturbed)
    steps = []
    for _ in range(kills):
        if attempt(words, chance.uniform(0.15, 0.4) * duration):
            break
        sealed = [int(path.parent.name.split("-")[1]) for path in folder.glob("checkpoints/*/complete.json")]
        steps.append(max(sealed, default=0))
    attempt(words, None)
    before, after = result(undisturbed), result(folder)
    return {
        "stage": stage,
        "kills": len(steps),
        "checkpoint_at_each_kill": steps,
        "same_weights": before["weights"] == after["weights"],
        "same_history": before["history"] == after["history"],
        "steps": json.loads((folder / "manifest.json").read_text())["steps"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_file", type=Path)
    parser.add_argument("stage", choices=["sft", "dpo"])
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_intermixed_args()
    # For every fork at once.
    import calltune.dpo
    import calltune.sft  # noqa: F401

    print(json.dumps(compare(options.run_file, options.stage, options.kills, options.overrides, options.seed)))
