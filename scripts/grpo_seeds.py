"""Reinforcement from verified answers against the SFT model and against as many more steps of SFT; grpo.json.

python scripts/grpo_seeds.py --split final > docs/benchmarks/grpo.json

For each seed examples/quickstart-grpo.toml, and, from the same SFT model, a control: as many more steps of SFT, with as
many questions in each, on the known answers of all questions that GRPO asks. All answer the same held-out questions.
Differences are paired by question within a seed and resampled in two stages, seeds and then questions.
"""

import argparse
import tomllib
from pathlib import Path
from typing import Any

from ladder import ROOT, calltune, do_seeds, known_answers, measured, more_sft, options, print_record, read, seeded

RUN_FILE = ROOT / "examples" / "quickstart-grpo.toml"
DIFFERENCES = (("grpo", "sft"), ("control", "sft"), ("grpo", "control"))


def one_seed(seed: int, words: argparse.Namespace) -> dict[str, Any]:
    """All arms of one seed."""
    name, checkpoints = f"grpo-{words.split}-{seed}", 'evaluate.checkpoints=["sft", "grpo"]'
    run, control = words.output / name, words.output / f"{name}-control"
    if not words.only_record:
        calltune(RUN_FILE, words.output, name, words.threads, *seeded(seed, words), checkpoints)
    trained = read(run / "grpo" / "manifest.json")
    if not words.only_record:
        more_sft(RUN_FILE, run, known_answers(run), trained["steps"], control.name, words)
    log = [entry["reward"] for entry in read(run / "grpo" / "history.json")["log"] if "reward" in entry]
    part = max(1, len(log) // 10)
    return measured(
        seed,
        {"sft": (run, "sft"), "grpo": (run, "grpo"), "control": (control, "sft")},
        run / "data" / "test.jsonl",
        steps=trained["steps"],
        train_seconds={
            "sft": read(run / "sft" / "manifest.json")["train_seconds"],
            "grpo": trained["train_seconds"],
            "control": read(control / "sft" / "manifest.json")["train_seconds"],
        },
        mean_reward={"first tenth": sum(log[:part]) / part, "last tenth": sum(log[-part:]) / part},
        token_ratio=trained["shared_prefixes"]["token_ratio"],
    )


def main() -> None:
    """Run the seeds, a few at a time, and write the record."""
    parser = options(__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "grpo")
    parser.add_argument("--only-record", action="store_true", help="train nothing; write the record of what is there")
    words = parser.parse_args()
    seeds = do_seeds(one_seed, words)
    first = words.output / f"grpo-{words.split}-{words.seeds[0]}"
    print_record(seeds, tomllib.loads(RUN_FILE.read_text())["grpo"], DIFFERENCES, first, words)


if __name__ == "__main__":
    main()
