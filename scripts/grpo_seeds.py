"""Reinforcement from verified answers against the SFT model and against as many more steps of SFT; grpo.json.

python scripts/grpo_seeds.py --split final > docs/benchmarks/grpo.json

For each seed examples/quickstart-grpo.toml, and, from the same SFT model, a control: as many more steps of SFT, with as
many questions in each, on the known answers of all questions that GRPO asks. All answer the same held-out questions.
Differences are paired by question within a seed and resampled in two stages, seeds and then questions.
"""

import argparse
import json
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ladder import FIGURES, ROOT, calltune, known_answers, metrics, more_sft, one_by_one, read, summary

RUN_FILE = ROOT / "examples" / "quickstart-grpo.toml"
DIFFERENCES = (("grpo", "sft"), ("control", "sft"), ("grpo", "control"))


def one_seed(seed: int, words: argparse.Namespace) -> dict[str, Any]:
    """All arms of one seed."""
    seeded = [f"seed={seed}", f"data.sources.0.seed={seed}", f"data.sources.0.test_split={words.split}"]
    name, measured = f"grpo-{words.split}-{seed}", 'evaluate.checkpoints=["sft", "grpo"]'
    run = calltune(RUN_FILE, words.output, name, words.threads, *seeded, measured)
    trained = read(run / "grpo" / "manifest.json")
    rows = known_answers(run)
    control = more_sft(RUN_FILE, run, rows, trained["steps"], f"{name}-control", words)
    places = {"sft": (run, "sft"), "grpo": (run, "grpo"), "control": (control, "sft")}
    found = {arm: metrics(folder, checkpoint) for arm, (folder, checkpoint) in places.items()}
    short = {
        arm: [round(one[n], 3) for n in ("acc_norm", "behavior_accuracy", "malformed_rate")]
        for arm, one in found.items()
    }
    print(seed, short, file=sys.stderr)
    seconds = {
        "sft": read(run / "sft" / "manifest.json")["train_seconds"],
        "grpo": trained["train_seconds"],
        "control": read(control / "sft" / "manifest.json")["train_seconds"],
    }
    log = [entry["reward"] for entry in read(run / "grpo" / "history.json")["log"] if "reward" in entry]
    part = max(1, len(log) // 10)
    rewards = {"first tenth": sum(log[:part]) / part, "last tenth": sum(log[-part:]) / part}
    test = run / "data" / "test.jsonl"
    return {
        "seed": seed,
        "figures": found,
        "steps": trained["steps"],
        "train_seconds": seconds,
        "mean_reward": rewards,
        "token_ratio": trained["shared_prefixes"]["token_ratio"],
        "by_question": {arm: one_by_one(test, folder, checkpoint) for arm, (folder, checkpoint) in places.items()},
    }


def main() -> None:
    """Run the seeds, a few at a time, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--split", choices=["development", "final"], default="development", help="final is looked at once"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "grpo")
    words = parser.parse_args()
    with ThreadPoolExecutor(words.at_once) as pool:
        seeds = list(pool.map(lambda seed: one_seed(seed, words), words.seeds))
    first = words.output / f"grpo-{words.split}-{words.seeds[0]}"
    record = {
        "setting": tomllib.loads(RUN_FILE.read_text())["grpo"],
        "split": words.split,
        "num_questions": len(seeds[0]["by_question"]["sft"]["behavior"]),
        "figures": FIGURES,
        "summary": {figure: summary(seeds, figure, DIFFERENCES) for figure in FIGURES},
        "seeds": [{key: value for key, value in seed.items() if key != "by_question"} for seed in seeds],
        "versions": read(first / "report.json")["versions"],
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
