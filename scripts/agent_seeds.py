"""The ladder of examples/agent-smollm2.toml with several seeds, its control, and other ways to make and use pairs.

python scripts/agent_seeds.py --split final > docs/benchmarks/agent.json    # after make agent; two hours on a CPU
python scripts/agent_seeds.py --run-file examples/quickstart-mine.toml --only-free --arms all  # an arm: a minute a seed

For each seed one SFT model, on questions of that seed's own. `dpo` is the run file's recipe; every other arm changes
what ARMS says of it, from the same SFT model and, where pairs are mined, from the same drawn answers. `control` is no
preference training at all: more SFT on the chosen answers of the run file's pairs, for as many steps of as many rows;
what DPO has over it comes from the rejected answers. Other controls learn at a part of SFT's rate. Differences are
paired by question within a seed and resampled in two stages, seeds and then questions. Questions about tools that
training never saw are counted apart, too.
"""

import argparse
import contextlib
import copy
import json
import math
import multiprocessing
import os
import resource
import shutil
import sys
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from agent_arms import ARMS, CONTROLS, laid_over, plain
from ladder import FIGURES, ROOT, metrics, one_by_one, read, read_lines, summary

RUN_FILE = ROOT / "examples" / "agent-smollm2.toml"
PARTS = {"all": None, "known tools": "agent", "unseen tools": "agent_unseen_tools"}
SFT, CONTROL = "sft", "control"
BEGUN = time.monotonic()


def main() -> None:
    """Train and measure every arm of every seed, some side by side, and write the record."""
    words = options()
    if not words.only_record:
        measure_all(words)
    found = record(words)
    if words.final_of_best:
        best = max((arm for arm in words.arms if arm in ARMS), key=lambda arm: behavior(found, arm))
        words.output, words.split = words.first / "final", "final"
        words.arms = [best, *(arm for arm in words.arms if arm in CONTROLS)]
        if not words.only_record:
            with ProcessPoolExecutor(words.at_once, multiprocessing.get_context("spawn")) as pool:
                asked = [pool.submit(again, words, seed, arm) for arm in (*words.arms, SFT) for seed in words.seeds]
                told(asked, [f"{arm} on the final split" for arm in (*words.arms, SFT) for _ in words.seeds])
        found["final"] = record(words)
    print(json.dumps(found, indent=2, allow_nan=False))


def behavior(found: dict[str, Any], arm: str) -> float:
    """The share of right decisions, over all seeds."""
    return found["summary"]["all"]["behavior"][arm]["mean"]


def measure_all(words: argparse.Namespace) -> None:
    """Do all runs. An arm that fails is told, and stops no other; one that the time is up for is not begun."""
    if not words.resume:
        shutil.rmtree(words.output, ignore_errors=True)
    words.output.mkdir(parents=True, exist_ok=True)
    if words.table["model"].endswith(".gguf"):
        from calltune.models.gguf_file import read_gguf

        words.table["model"] = str(read_gguf(ROOT / words.table["model"], words.output))
    with ProcessPoolExecutor(words.at_once, multiprocessing.get_context("spawn")) as pool:
        told(
            [pool.submit(do, words, seed, "first", {}, ["prepare", "sft", "mine"]) for seed in words.seeds],
            [f"SFT and its drawn answers, seed {seed}" for seed in words.seeds],
        )
        # By arms, so that those which are left out for want of time are left out with every seed.
        each = [(arm, seed) for arm in (SFT, *words.arms) for seed in words.seeds]
        told([pool.submit(measure, words, seed, arm) for arm, seed in each], [f"{arm}, seed {n}" for arm, n in each])


def told(waiting: Sequence[Future[None]], names: Sequence[str]) -> None:
    """Wait for runs and say how each ended."""
    by_run = dict(zip(waiting, names, strict=True))
    for number, each in enumerate(as_completed(by_run), start=1):
        fault = each.exception()
        outcome = f"failed: {fault}" if fault else "is done"
        print(f"{time.monotonic() - BEGUN:.0f} s: {number} of {len(by_run)}: {by_run[each]} {outcome}", file=sys.stderr)


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-file", type=Path, default=RUN_FILE)
    parser.add_argument(
        "--split", choices=["development", "final"], default="development", help="final is looked at once"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=["dpo", CONTROL], choices=["all", *ARMS, *CONTROLS])
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    parser.add_argument("--only-free", action="store_true", help="leave out which of four written answers is likeliest")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="laid over the run file")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "agent-seeds", help="is emptied first")
    parser.add_argument("--resume", action="store_true", help="empty nothing: what is complete is not done again")
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which no further arm is begun")
    parser.add_argument(
        "--final-of-best", action="store_true", help="then ask the best arm, SFT and the control the final split, once"
    )
    parser.add_argument("--only-record", action="store_true", help="train nothing; write the record of what is there")
    words = parser.parse_args()
    words.arms = [*ARMS, *CONTROLS] if words.arms == ["all"] else words.arms
    laid = {each.split("=")[0] for each in words.set}
    if undone := [arm for arm in words.arms if laid & ARMS.get(arm, {}).keys()]:
        parser.error(f"--set says what these arms change: {', '.join(undone)}")
    words.output = words.first = words.output.resolve()
    words.deadline = time.time() + words.seconds
    words.table = tomllib.loads(words.run_file.read_text(encoding="utf-8"))
    if words.only_free:
        asked = words.table["evaluate"]["benchmarks"]
        words.table["evaluate"]["benchmarks"] = [each for each in asked if each["name"] == "when2call_generation"]
    # Read by the processes that are started, when they import torch.
    os.environ |= {"OMP_NUM_THREADS": str(words.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return words


def folder(words: argparse.Namespace, seed: int, arm: str) -> Path:
    """Where an arm's run lies."""
    return words.output / arm.replace(" ", "-") / f"agent-{seed}"


def again(words: argparse.Namespace, seed: int, arm: str) -> None:
    """Ask what was trained the questions of the other split."""
    before, own = (words.first / folder(words, seed, arm).relative_to(words.output)), folder(words, seed, arm)
    for part in ("sft", "dpo", "grpo"):
        if (before / part).is_dir():
            shutil.copytree(before / part, own / part, copy_function=os.link)
    changes = json.loads(before.with_name(f"{before.name}.changes.json").read_text(encoding="utf-8"))
    if arm in CONTROLS:
        # Its rows are of its own; the questions are the others'.
        test = folder(words, seed, "questions") / "data" / "test.jsonl"
        do(words, seed, "questions", {}, ["prepare"])
        changes |= asking(words, test)
    do(words, seed, arm, changes, ["prepare", "evaluate"])


def measure(words: argparse.Namespace, seed: int, arm: str) -> None:
    """Train an arm from the seed's SFT model, unless it is that model, and ask it all questions."""
    if arm != SFT and time.time() > words.deadline:
        raise TimeoutError("the time is up")
    first, own = folder(words, seed, "first"), folder(words, seed, arm)
    if arm in CONTROLS:
        do(words, seed, arm, {**continued(words, first), **CONTROLS[arm]}, ["prepare", "sft", "evaluate"])
        return
    for part in ("data", "sft", "answers"):
        # What is complete is read and never written again.
        shutil.rmtree(own / part, ignore_errors=True)
        shutil.copytree(first / part, own / part, copy_function=os.link)
    if arm == SFT:
        do(words, seed, arm, {"evaluate.checkpoints": ["base", "sft"]}, ["evaluate"])
        return
    changes, made = ARMS[arm], checkpoint(arm)
    mining = [] if "mine" in changes else ["mine"]
    do(words, seed, arm, {**changes, "evaluate.checkpoints": [made]}, [*mining, made, "evaluate"])


def continued(words: argparse.Namespace, first: Path) -> dict[str, Any]:
    """The changes that make the run file more SFT on the pairs' chosen answers."""
    dpo = words.table["dpo"]
    pairs = read_lines(first / "mined" / "pairs.jsonl")
    rows = [{"prompt": pair["prompt"], "completion": pair["chosen"], "tools": pair["tools"]} for pair in pairs]
    file = first.with_name(f"{first.name}-chosen.jsonl")
    file.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), encoding="utf-8")
    size = dpo["per_device_train_batch_size"]
    return {
        "model": str(first / "sft"),
        "stages": ["sft"],
        "mine": None,
        "data.sources": [{"name": "chat_jsonl", "path": str(file)}],
        "data.allow_missing": ["direct", "tool_call", "request_for_info", "cannot_answer"],
        "sft.per_device_train_batch_size": size,
        "sft.max_steps": dpo.get("num_train_epochs", 3) * math.ceil(len(rows) / size),
        "evaluate.checkpoints": ["sft"],
        **asking(words, first / "data" / "test.jsonl"),
    }


def asking(words: argparse.Namespace, questions: Path) -> dict[str, str]:
    """The changes that let every benchmark ask the questions of a file."""
    return {f"evaluate.benchmarks.{n}.path": str(questions) for n in range(len(words.table["evaluate"]["benchmarks"]))}


def do(words: argparse.Namespace, seed: int, arm: str, changes: dict[str, Any], verbs: list[str]) -> None:
    """Do some verbs of the run file with changes, in this process; what they print goes into a file beside the run."""
    from calltune.cli import main as calltune

    place = folder(words, seed, arm)
    place.parent.mkdir(parents=True, exist_ok=True)
    table = copy.deepcopy(words.table)
    source = table["data"]["sources"][0]
    source |= {"seed": seed, "test_split": words.split}
    if "num_unseen" in source:
        source |= {"num_questions": 150, "num_unseen": 50}
    table |= {"seed": seed, "output": str(place.parent), "name": place.name, "tracking": {"mlflow": False}}
    changes = plain(table, changes)
    table = laid_over(table, changes)
    kept = json.dumps(changes, allow_nan=False)
    place.with_name(f"{place.name}.changes.json").write_text(kept, encoding="utf-8")
    file = place.with_name(f"{place.name}.json")
    file.write_text(json.dumps(table, allow_nan=False), encoding="utf-8")
    # An arm without mining has no use for its keys, and the control has rows of its own.
    unused = tuple(f"{name}." for name in ("mine", "dpo", "grpo") if name not in table) + ("data.",) * (arm in CONTROLS)
    given = [each for each in words.set if not each.startswith(unused)]
    with place.with_name(f"{place.name}.log").open("a", encoding="utf-8") as log:
        for verb in verbs:
            begun = time.monotonic()
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                code = calltune([verb, str(file), *given])
            log.write(f"{verb}: {time.monotonic() - begun:.0f} s\n")
            if code:
                raise RuntimeError(f"{log.name}: {verb} ended with {code}")


def record(words: argparse.Namespace) -> dict[str, Any]:
    """What is written of all seeds: each arm's mean, lowest and highest, and differences with their intervals.

    An arm that was not measured with every seed is left out, and named in `left_out`.
    """
    asked = words.arms
    words.arms = [arm for arm in asked if all(is_measured(words, seed, arm) for seed in words.seeds)]
    seeds = [one_seed(words, seed) for seed in words.seeds]
    controls = [arm for arm in words.arms if arm in CONTROLS]
    differences = [("sft", "base"), *((arm, SFT) for arm in words.arms)]
    differences += [(arm, control) for arm in words.arms if arm in ARMS for control in controls]
    sources = seeds[0]["sources"]
    is_asked = {name: any(v is not None for v in seeds[0]["by_question"][SFT][name]) for name in FIGURES}
    figures = {name: text for name, text in FIGURES.items() if is_asked[name]}
    of_parts = {name: part for name, part in PARTS.items() if part is None or part in sources}
    result = read(folder(words, words.seeds[0], SFT) / "eval" / "sft" / "when2call_generation" / "manifest.json")
    return {
        "split": words.split,
        "laid_over": words.set,
        "left_out": [arm for arm in asked if arm not in words.arms],
        "arms": {
            arm: plain(words.table, ARMS[arm])
            if arm in ARMS
            else {"more SFT on the chosen answers": plain(words.table, CONTROLS[arm])}
            for arm in words.arms
        },
        "num_questions": {name: sum(part in (None, s) for s in sources) for name, part in of_parts.items()},
        "figures": figures,
        "summary": {
            name: {figure: summary(seeds, figure, differences, part) for figure in figures}
            for name, part in of_parts.items()
        },
        "seeds": [{k: v for k, v in seed.items() if k not in ("by_question", "sources")} for seed in seeds],
        "threads": words.threads,
        "runs_at_once": words.at_once,
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "measured_with": result["versions"] if words.only_record else {**result["versions"], "device": device()},
    }


def is_measured(words: argparse.Namespace, seed: int, arm: str) -> bool:
    """Whether an arm's free answers are there."""
    return (folder(words, seed, arm) / "eval" / checkpoint(arm) / "when2call_generation" / "result.json").is_file()


def checkpoint(arm: str) -> str:
    """The checkpoint that an arm makes."""
    return "sft" if arm == SFT or arm in CONTROLS else ARMS[arm].get("stages", ["dpo"])[-1]


def device() -> str:
    """The GPU's name, or "cpu"."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def one_seed(words: argparse.Namespace, seed: int) -> dict[str, Any]:
    """All that was measured of a seed."""
    test = folder(words, seed, SFT) / "data" / "test.jsonl"
    places = {"base": (folder(words, seed, SFT), "base"), SFT: (folder(words, seed, SFT), "sft")}
    places |= {arm: (folder(words, seed, arm), checkpoint(arm)) for arm in words.arms}
    statistics = read(words.first / "first" / f"agent-{seed}" / "mined" / "statistics.json")
    trained = {arm: read(run / name / "manifest.json") for arm, (run, name) in places.items() if name != "base"}
    return {
        "seed": seed,
        "figures": {arm: metrics(*place) for arm, place in places.items()},
        "steps": {arm: manifest["steps"] for arm, manifest in trained.items()},
        "seconds": {arm: manifest["train_seconds"] for arm, manifest in trained.items()},
        "mining": {key: value for key, value in statistics.items() if isinstance(value, int)},
        "by_question": {arm: one_by_one(test, *place) for arm, place in places.items()},
        "sources": [row["source"] for row in read_lines(test)],
    }


if __name__ == "__main__":
    main()
