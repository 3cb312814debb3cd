"""Preference training on given pairs against pairs mined from the model's own mistakes; docs/benchmarks/mining.json.

python scripts/mining_seeds.py --split final --at-once 3 > docs/benchmarks/mining.json

For each seed SFT and DPO as examples/quickstart.toml has them, then, from the same SFT model and with the same settings
and as many pairs, DPO as examples/quickstart-mine.toml has it. Both, and SFT, answer the same held-out questions. With
--control also more SFT on the chosen answers of the mined pairs: what mining has over it comes from the rejected ones.
Differences are paired by question within a seed and resampled in two stages, seeds and then questions.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GIVEN, MINED = (ROOT / "examples" / f"{name}.toml" for name in ("quickstart", "quickstart-mine"))
BENCHMARKS = {"when2call": ("acc_norm", "acc"), "when2call_generation": ("behavior_accuracy", "malformed_rate")}
DETAILS = ("exact_call_rate", *(f"recall_{b}" for b in ("direct", "tool_call", "request_for_info", "cannot_answer")))
FIGURES = {
    "acc_norm": "share of questions whose right answer of four is the likeliest per character",
    "behavior": "share of questions answered freely with the right behaviour",
    "malformed": "share of free answers with a broken call",
    "right_call": "share of questions that want a call answered with exactly the known call",
    "needless_call": "share of questions that want no call answered with one",
    "missed_call": "share of questions that want a call answered with a text",
    "wrong_text": "share of questions that want a text answered with a text of another behaviour",
}
RESAMPLES = 2000


def calltune(run_file: Path, output: Path, name: str, threads: int, *overrides: str) -> Path:
    """Do a run in a process of its own; what is complete from an earlier try is not done again."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    words = [f"output={output}", f"name={name}", "tracking.mlflow=false", *overrides]
    command = ["nice", "-n", "5", sys.executable, "-m", "calltune", "run", str(run_file), *words]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return output / name


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def one_by_one(questions_file: Path, run: Path, checkpoint: str) -> dict[str, list[float | None]]:
    """For each figure, one value a question; None where the figure does not count it."""
    questions = {row["uuid"]: row for row in read_lines(questions_file)}
    chosen, written = (run / "eval" / checkpoint / name for name in BENCHMARKS)
    ranked = {row["sample_id"]: row["value"] for row in read_lines(chosen / "scores.jsonl")}
    scores = {row["sample_id"]: row for row in read_lines(written / "scores.jsonl")}
    answers = {row["sample_id"]: row["message"] for row in read_lines(written / "completions.jsonl")}
    found: dict[str, list[float | None]] = {figure: [] for figure in FIGURES}
    for key, question in questions.items():
        right, shown = question["correct_answer"], scores[key]["label"]
        wants_call, calls = right == "tool_call", (answers[key] or {"tool_calls": []})["tool_calls"]
        values = {
            "acc_norm": ranked[key],
            "behavior": float(shown == right),
            "malformed": float(shown == "malformed"),
            "right_call": float(calls == [json.loads(question["answers"]["tool_call"])]) if wants_call else None,
            "needless_call": None if wants_call else float(shown == "tool_call"),
            "missed_call": float(shown not in ("tool_call", "malformed", "truncated")) if wants_call else None,
            "wrong_text": None if wants_call else float(shown not in (right, "tool_call", "malformed", "truncated")),
        }
        for figure, value in values.items():
            found[figure].append(value)
    return found


def metrics(run: Path, checkpoint: str) -> dict[str, Any]:
    """What `evaluate` says of a checkpoint."""
    found: dict[str, Any] = {}
    for benchmark, names in BENCHMARKS.items():
        result = read(run / "eval" / checkpoint / benchmark / "result.json")
        kept = names if benchmark == "when2call" else (*names, *DETAILS)
        found |= {name: result["metrics"][name] for name in kept}
        found |= {f"{name}_interval": result["intervals"][name] for name in kept if name in result["intervals"]}
    return found


def one_seed(seed: int, words: argparse.Namespace) -> dict[str, Any]:
    """Both ways for one seed."""
    seeded = [f"seed={seed}", f"data.sources.0.seed={seed}", f"data.sources.0.test_split={words.split}"]
    name = f"mining-{words.split}-{seed}"
    measured = 'evaluate.checkpoints=["sft", "dpo"]'
    given = calltune(GIVEN, words.output, name, words.threads, *seeded, measured)
    from_sft = [f"model={given / 'sft'}", 'stages=["dpo"]', 'evaluate.checkpoints=["dpo"]']
    mined = calltune(MINED, words.output, f"{name}-mined", words.threads, *seeded, *from_sft)
    places = {"sft": (given, "sft"), "given": (given, "dpo"), "mined": (mined, "dpo")}
    if words.control:
        places["control"] = (control(given, mined, f"{name}-control", words), "sft")
    told = read(mined / "mined" / "statistics.json")
    kept = {key: value for key, value in told.items() if isinstance(value, int) or key.startswith("num_")}
    kept |= {f"num_{key}": len(told[key]) for key in ("easy", "never_right", "contradicting", "not_verified")}
    found = {arm: metrics(run, checkpoint) for arm, (run, checkpoint) in places.items()}
    short = {
        arm: [round(one[n], 3) for n in ("acc_norm", "behavior_accuracy", "malformed_rate")]
        for arm, one in found.items()
    }
    print(seed, short, file=sys.stderr)
    steps = {arm: read(run / "dpo" / "manifest.json")["steps"] for arm, run in (("given", given), ("mined", mined))}
    test = given / "data" / "test.jsonl"
    by_question = {arm: one_by_one(test, run, checkpoint) for arm, (run, checkpoint) in places.items()}
    return {"seed": seed, "figures": found, "dpo_steps": steps, "mining": kept, "by_question": by_question}


def control(given: Path, mined: Path, name: str, words: argparse.Namespace) -> Path:
    """More SFT of the SFT model on the mined pairs' chosen answers, for as many steps of as many rows as DPO did."""
    rows = words.output / f"{name}.jsonl"
    pairs = read_lines(mined / "mined" / "pairs.jsonl")
    kept = [{"prompt": pair["prompt"], "completion": pair["chosen"], "tools": pair["tools"]} for pair in pairs]
    rows.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    questions = given / "data" / "test.jsonl"
    return calltune(
        GIVEN,
        words.output,
        name,
        words.threads,
        f"seed={read(given / 'config.json')['seed']}",
        f"model={given / 'sft'}",
        'stages=["sft"]',
        'evaluate.checkpoints=["sft"]',
        f'data.sources=[{{name = "chat_jsonl", path = "{rows}"}}]',
        f"sft.max_steps={read(mined / 'dpo' / 'manifest.json')['steps']}",
        *(f"evaluate.benchmarks.{number}.path={questions}" for number in range(2)),
    )


def means(values: Sequence[Sequence[float | None]]) -> float:
    """The mean over seeds of the mean over the questions that count."""
    inner = [[value for value in one if value is not None] for one in values]
    return sum(sum(one) / len(one) for one in inner) / len(inner)


def summary(seeds: Sequence[dict[str, Any]], figure: str) -> dict[str, Any]:
    """Each arm's mean over seeds, its lowest and highest, and the differences with 95 % intervals."""
    arms = {arm: [one["by_question"][arm][figure] for one in seeds] for arm in seeds[0]["by_question"]}
    found: dict[str, Any] = {}
    for arm, values in arms.items():
        each = [means([one]) for one in values]
        found[arm] = {"mean": sum(each) / len(each), "lowest": min(each), "highest": max(each)}
    for new, old in (("given", "sft"), ("mined", "sft"), ("mined", "given"), ("mined", "control")):
        if old not in arms:
            continue
        pairs = [
            [a - b for a, b in zip(first, second, strict=True) if a is not None and b is not None]
            for first, second in zip(arms[new], arms[old], strict=True)
        ]
        found[f"{new} - {old}"] = {"mean": means(pairs), "interval": interval(pairs)}
    return found


def interval(differences: Sequence[Sequence[float]]) -> list[float]:
    """The 95 % percentile interval of the mean, resampling seeds and then each drawn seed's questions."""
    rng = random.Random(0)
    drawn = sorted(
        means([rng.choices(one, k=len(one)) for one in rng.choices(differences, k=len(differences))])
        for _ in range(RESAMPLES)
    )
    return [drawn[round(0.025 * RESAMPLES)], drawn[round(0.975 * RESAMPLES) - 1]]


def main() -> None:
    """Run the seeds, a few at a time, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--split", choices=["development", "final"], default="development", help="final is looked at once"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    parser.add_argument("--control", action="store_true", help="train and measure the control, too")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "mining")
    words = parser.parse_args()
    with ThreadPoolExecutor(words.at_once) as pool:
        seeds = list(pool.map(lambda seed: one_seed(seed, words), words.seeds))
    first = words.output / f"mining-{words.split}-{words.seeds[0]}"
    record = {
        "setting": tomllib.loads(MINED.read_text())["mine"],
        "split": words.split,
        "num_questions": len(seeds[0]["by_question"]["sft"]["behavior"]),
        "figures": FIGURES,
        "summary": {figure: summary(seeds, figure) for figure in FIGURES},
        "seeds": [{key: value for key, value in seed.items() if key != "by_question"} for seed in seeds],
        "versions": read(first / "report.json")["versions"],
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
