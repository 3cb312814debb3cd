"""Change one file at a time of what calltune reads, run a verb on it, and see how it ends.

Run as `python tests/material/mutation_script.py --count 1000 [--seed 0] [--kinds state model] [--older NAME=FOLDER]`;
an older FOLDER is a working folder in which another version has run the same run file (`--make FOLDER` makes one). A
case is bad if it ends with a traceback, by a signal, above the limit of seconds, or with anything but one line and exit
code 2. The last line is JSON; bad cases are printed as they come.
"""

import argparse
import collections
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from forked import import_all, in_fork, must, stop_after
from mutations import change
from toy_run import begun, make


class Kind(NamedTuple):
    """A kind of file: where its files lie in a working folder, and which verbs read them."""

    patterns: tuple[str, ...]
    verbs: tuple[str, ...]
    folder: str = "whole"
    overrides: tuple[str, ...] = ()


KINDS = {
    "run file": Kind(("run.json", "run.toml"), ("check", "check", "prepare"), "begun"),
    "benchmark": Kind(("questions.jsonl", "bfcl/*", "bfcl/*/*"), ("evaluate",), "begun", ("stages=[]",)),
    "model": Kind(("model/*",), ("check", "evaluate", "sft", "export"), "prepared", ("stages=['sft']",)),
    "state": Kind(
        ("runs/toy/*.json", "runs/toy/*/*.json*", "runs/toy/*/*/*/*.json*"),
        ("report", "report", "evaluate", "sft", "dpo", "export", "run"),
    ),
    "stage's model": Kind(("runs/toy/sft/*", "runs/toy/dpo/*"), ("evaluate", "dpo", "export", "report")),
    "checkpoint": Kind(("runs/toy/sft/checkpoints/*/*",), ("sft",), "stopped"),
}


def material(work: Path, older: dict[str, Path]) -> dict[str, list[Path]]:
    """Working folders by the name that `Kind.folder` has for them."""
    begun(work / "begun")
    shutil.copytree(work / "begun", work / "prepared")
    must(["prepare", "run.json"], work / "prepared")
    shutil.copytree(work / "prepared", work / "stopped")
    must(["sft", "run.json"], work / "stopped", 143, stop_after(2))
    make(work / "whole")
    names = ("begun", "prepared", "stopped")
    return {name: [work / name] for name in names} | {"whole": [work / "whole", *older.values()]}


def main_script() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=10)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--older", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--make", type=Path, help="only make a working folder with a complete run")
    parser.add_argument("--log", type=Path, help="every case as a row of JSON")
    options = parser.parse_args()
    import_all()
    if options.make:
        return make(options.make)
    older = {name: Path(folder) for name, folder in (text.split("=", 1) for text in options.older)}
    with tempfile.TemporaryDirectory() as work:
        print(json.dumps(run_cases(Path(work), older, options)))


def run_cases(work: Path, older: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Run all cases; how they ended, by kind."""
    folders = material(work, older)
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    slowest = 0.0
    for number in range(options.count):
        kind = options.kinds[number % len(options.kinds)]
        chance = random.Random(f"{options.seed} {number}")
        row = {"case": number, "kind": kind} | run_case(KINDS[kind], folders, work / "case", chance, options.limit)
        slowest = max(slowest, row["seconds"])
        counts[kind]["bad" if row["fault"] else f"exit {row['code']}"] += 1
        if options.log:
            with options.log.open("a") as log:
                log.write(json.dumps(row) + "\n")
        if row["fault"]:
            print(json.dumps(row), flush=True)
    ends = {name: dict(sorted(counter.items())) for name, counter in counts.items()}
    bad = sum(counter["bad"] for counter in counts.values())
    return {"cases": options.count, "bad": bad, "slowest_seconds": slowest, "ends": ends}


def run_case(kind: Kind, folders: dict[str, list[Path]], case: Path, chance: random.Random, limit: float) -> dict:
    """Change one file in a copy of a working folder and run one verb there; what was done, and how it ended."""
    origin = chance.choice(folders[kind.folder])
    shutil.copytree(origin, case, symlinks=True)
    found = {file for pattern in kind.patterns for file in case.glob(pattern)}
    file = chance.choice(sorted(file for file in found if file.is_file()))
    words = change(file, chance)
    run_file = file.name if file.name.startswith("run.") else "run.json"
    command = [chance.choice(kind.verbs), run_file, *kind.overrides]
    end = in_fork(command, case, limit)
    if end.code is None:
        # Whether it hangs, or has much to do: a run file without its numbers of rows asks for thousands.
        end = in_fork(command, case, 12 * limit)
        end = end if end.code is None else end._replace(seconds=0.0)
    shutil.rmtree(case)
    return {
        "origin": origin.name,
        "file": str(file.relative_to(case)),
        "change": words,
        "command": command,
        "code": end.code,
        "seconds": round(end.seconds, 1),
        "fault": end.fault(limit),
        "error": end.error[-3000:],
    }


if __name__ == "__main__":
    main_script()
