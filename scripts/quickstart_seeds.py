"""Run the quickstart once per seed, with a control, and record the ladder in docs/benchmarks/quickstart.json.

python scripts/quickstart_seeds.py --split final > docs/benchmarks/quickstart.json

The control takes the SFT model and, instead of DPO, trains on by SFT: on the same pairs' chosen answers, for the same
number of steps, in the same batches. What DPO has over it comes from the preferences.
"""

import argparse
import json
import resource
import sys
import tomllib
from pathlib import Path
from typing import Any

from ladder import ROOT, calltune, do_seeds, options, read, seeded

RUN_FILE = ROOT / "examples" / "quickstart.toml"
METRICS = {
    "when2call": ("acc_norm", "acc"),
    "when2call_generation": ("behavior_accuracy", "malformed_rate", "exact_call_rate"),
}


def figures(report: Path, checkpoint: str) -> dict[str, Any]:
    """The metrics of one checkpoint, with their 95 % intervals, from a report."""
    found: dict[str, Any] = {}
    for result in read(report)["results"]:
        if result["checkpoint"] == checkpoint:
            for name in METRICS[result["benchmark"]]:
                found[name] = result["metrics"][name]
                if name in result["intervals"]:
                    found[f"{name}_interval"] = result["intervals"][name]
    return found


def seconds_of(run: Path) -> float:
    """Seconds on the clock that training and evaluating took, from the stages' manifests."""
    manifests = [read(path) for path in run.rglob("manifest.json")]
    return round(sum(m.get("train_seconds", 0) + m.get("seconds", 0) for m in manifests), 1)


def one_seed(seed: int, words: argparse.Namespace) -> dict[str, Any]:
    """The ladder of one seed, and its control."""
    name, table = f"quickstart-{words.split}-{seed}", tomllib.loads(RUN_FILE.read_text())
    # It gives way to nobody, as its seconds are recorded.
    run = calltune(RUN_FILE, words.output, name, words.threads, *seeded(seed, words), is_nice=False)
    report = run / "report.json"
    source, dpo = table["data"]["sources"][0], table["dpo"]
    pairs = (
        f"[{{name = 'synthetic', seed = {seed}, num_examples = 0, as_examples = true, "
        f"num_pairs = {source['num_pairs']}, num_questions = {source['num_questions']}, test_split = '{words.split}'}}]"
    )
    control = calltune(
        RUN_FILE,
        words.output,
        f"{name}-control",
        words.threads,
        f"model={run / 'sft'}",
        f"seed={seed}",
        "stages=['sft']",
        f"data.sources={pairs}",
        f"sft.max_steps={read(report)['stages']['dpo']['steps']}",
        f"sft.per_device_train_batch_size={dpo['per_device_train_batch_size']}",
        f"sft.gradient_accumulation_steps={dpo.get('gradient_accumulation_steps', 1)}",
        "evaluate.checkpoints=['sft']",
        is_nice=False,
    )
    ladder = {stage: figures(report, stage) for stage in ("base", "sft", "dpo")}
    ladder["control"] = figures(control / "report.json", "sft")
    print(
        seed,
        {stage: (f["acc_norm"], f["behavior_accuracy"], f["malformed_rate"]) for stage, f in ladder.items()},
        file=sys.stderr,
    )
    return {"seed": seed, **ladder, "seconds": seconds_of(run)}


def main() -> None:
    """Run the seeds, a few at a time, and write the record."""
    parser = options(__doc__, threads=2, at_once="runs side by side; the seconds are only fair with 1")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "seeds")
    words = parser.parse_args()
    seeds = do_seeds(one_seed, words)
    first = read(words.output / f"quickstart-{words.split}-{words.seeds[0]}" / "report.json")
    record = {
        "seeds": seeds,
        "num_questions": first["results"][0]["num_samples"],
        "split": words.split,
        "threads": words.threads,
        "runs_at_once": words.at_once,
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "versions": first["versions"],
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
