"""Run the quickstart once per seed, with a control, and record the ladder in docs/benchmarks/quickstart.json.

python scripts/quickstart_seeds.py --split final > docs/benchmarks/quickstart.json

The control takes the SFT model and, instead of DPO, trains on by SFT: on the same pairs' chosen answers, for the same
number of steps, in the same batches. What DPO has over it comes from the preferences.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RUN_FILE = ROOT / "examples" / "quickstart.toml"
METRICS = {
    "when2call": ("acc_norm", "acc"),
    "when2call_generation": ("behavior_accuracy", "malformed_rate", "exact_call_rate"),
}


def calltune(output: Path, threads: int, *overrides: str) -> None:
    """Run the quickstart in a process of its own; what is complete from an earlier try is not run again."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    # Without MLflow: runs that begin together would make one database together.
    words = [f"output={output}", "tracking.mlflow=false", *overrides]
    command = [sys.executable, "-m", "calltune", "run", str(RUN_FILE), *words]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def figures(report: Path, checkpoint: str) -> dict[str, Any]:
    """The metrics of one checkpoint, with their 95 % intervals, from a report."""
    found: dict[str, Any] = {}
    for result in json.loads(report.read_text())["results"]:
        if result["checkpoint"] == checkpoint:
            for name in METRICS[result["benchmark"]]:
                found[name] = result["metrics"][name]
                if name in result["intervals"]:
                    found[f"{name}_interval"] = result["intervals"][name]
    return found


def seconds_of(run: Path) -> float:
    """Seconds on the clock that training and evaluating took, from the stages' manifests."""
    manifests = [json.loads(path.read_text()) for path in run.rglob("manifest.json")]
    return round(sum(m.get("train_seconds", 0) + m.get("seconds", 0) for m in manifests), 1)


def one_seed(seed: int, split: str, output: Path, threads: int) -> dict[str, Any]:
    """The ladder of one seed, and its control."""
    name = f"quickstart-{split}-{seed}"
    source = tomllib.loads(RUN_FILE.read_text())["data"]["sources"][0]
    calltune(
        output,
        threads,
        f"name={name}",
        f"seed={seed}",
        f"data.sources.0.seed={seed}",
        f"data.sources.0.test_split={split}",
    )
    report = json.loads((output / name / "report.json").read_text())
    dpo = tomllib.loads(RUN_FILE.read_text())["dpo"]
    pairs = (
        f"[{{name = 'synthetic', seed = {seed}, num_examples = 0, as_examples = true, "
        f"num_pairs = {source['num_pairs']}, num_questions = {source['num_questions']}, test_split = '{split}'}}]"
    )
    calltune(
        output,
        threads,
        f"name={name}-control",
        f"model={output / name / 'sft'}",
        f"seed={seed}",
        "stages=['sft']",
        f"data.sources={pairs}",
        f"sft.max_steps={report['stages']['dpo']['steps']}",
        f"sft.per_device_train_batch_size={dpo['per_device_train_batch_size']}",
        f"sft.gradient_accumulation_steps={dpo.get('gradient_accumulation_steps', 1)}",
        "evaluate.checkpoints=['sft']",
    )
    ladder = {stage: figures(output / name / "report.json", stage) for stage in ("base", "sft", "dpo")}
    ladder["control"] = figures(output / f"{name}-control" / "report.json", "sft")
    print(
        seed,
        {stage: (f["acc_norm"], f["behavior_accuracy"], f["malformed_rate"]) for stage, f in ladder.items()},
        file=sys.stderr,
    )
    return {"seed": seed, **ladder, "seconds": seconds_of(output / name)}


def main() -> None:
    """Run the seeds, a few at a time, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--split", choices=["development", "final"], default="development", help="final is looked at once"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=2, help="of each run")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side; the seconds are only fair with 1")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "seeds")
    words = parser.parse_args()
    with ThreadPoolExecutor(words.at_once) as pool:
        seeds = list(pool.map(lambda seed: one_seed(seed, words.split, words.output, words.threads), words.seeds))
    first = json.loads((words.output / f"quickstart-{words.split}-{words.seeds[0]}" / "report.json").read_text())
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
