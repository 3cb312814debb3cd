"""The ladder of examples/agent-smollm2.toml with several seeds, and its control; docs/benchmarks/agent.json.

make agent
python scripts/agent_seeds.py --split final --at-once 2 > docs/benchmarks/agent.json

For each seed the base, SFT and SFT + DPO as the run file has them, on questions of that seed's own. The control takes
the SFT model and, instead of DPO, trains on by SFT: on the same pairs' chosen answers, for as many steps of as many
rows. What DPO has over it comes from the rejected answers. Differences are paired by question within a seed and
resampled in two stages, seeds and then questions. Questions about tools that training never saw are counted apart, too.
"""

import argparse
import json
import resource
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ladder import FIGURES, ROOT, calltune, continued, metrics, one_by_one, read, read_lines, summary

RUN_FILE = ROOT / "examples" / "agent-smollm2.toml"
PARTS = {"all": None, "known tools": "agent", "unseen tools": "agent_unseen_tools"}
DIFFERENCES = (("sft", "base"), ("dpo", "sft"), ("dpo", "control"), ("control", "sft"))


def one_seed(seed: int, words: argparse.Namespace) -> dict[str, Any]:
    """The ladder of one seed, and its control."""
    seeded = [f"seed={seed}", f"data.sources.0.seed={seed}", f"data.sources.0.test_split={words.split}", *words.set]
    name = f"agent-{words.split}-{seed}"
    run = calltune(RUN_FILE, words.output, name, words.threads, *seeded)
    pairs_a_step = tomllib.loads(RUN_FILE.read_text())["dpo"]["per_device_train_batch_size"]
    size = f"sft.per_device_train_batch_size={pairs_a_step}"
    control = continued(RUN_FILE, run, run, f"{name}-control", words, size, *words.set)
    places = {"base": (run, "base"), "sft": (run, "sft"), "dpo": (run, "dpo"), "control": (control, "sft")}
    by_question = {arm: one_by_one(run / "data" / "test.jsonl", *place) for arm, place in places.items()}
    told = read(run / "mined" / "statistics.json")
    mining = {key: value for key, value in told.items() if isinstance(value, int)}
    print(seed, {arm: summary_of(by_question[arm]) for arm in places}, file=sys.stderr)
    return {
        "seed": seed,
        "figures": {arm: metrics(*place) for arm, place in places.items()},
        "dpo_steps": read(run / "dpo" / "manifest.json")["steps"],
        "mining": mining,
        "seconds": seconds_of(run),
        "by_question": by_question,
        "sources": [row["source"] for row in read_lines(run / "data" / "test.jsonl")],
    }


def summary_of(values: dict[str, list[float | None]]) -> dict[str, float]:
    """The mean of each figure, for whoever waits."""
    kept = {figure: [value for value in each if value is not None] for figure, each in values.items()}
    return {figure: round(sum(each) / len(each), 3) for figure, each in kept.items()}


def seconds_of(run: Path) -> dict[str, float]:
    """Seconds on the clock that training and evaluating took, from the manifests."""
    found: dict[str, float] = {}
    for path in sorted(run.rglob("manifest.json")):
        manifest = read(path)
        if seconds := manifest.get("train_seconds", 0) + manifest.get("seconds", 0):
            found[str(path.parent.relative_to(run))] = round(seconds, 1)
    return found


def main() -> None:
    """Run the seeds, a few at a time, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--split", choices=["development", "final"], default="development", help="final is looked at once"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="laid over the run file")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "agent-seeds")
    words = parser.parse_args()
    words.output.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(words.at_once) as pool:
        seeds = list(pool.map(lambda seed: one_seed(seed, words), words.seeds))
    record = {
        "split": words.split,
        "laid_over": words.set,
        "num_questions": {name: sum(part in (None, s) for s in seeds[0]["sources"]) for name, part in PARTS.items()},
        "figures": FIGURES,
        "summary": {
            name: {figure: summary(seeds, figure, DIFFERENCES, part) for figure in FIGURES}
            for name, part in PARTS.items()
        },
        "seeds": [{k: v for k, v in seed.items() if k not in ("by_question", "sources")} for seed in seeds],
        "threads": words.threads,
        "runs_at_once": words.at_once,
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "versions": read(words.output / f"agent-{words.split}-{words.seeds[0]}" / "report.json")["versions"],
    }
    print(json.dumps(record, indent=2, allow_nan=False))


if __name__ == "__main__":
    main()
