"""What the scripts that train one recipe with several seeds share: runs, figures by question, means and intervals."""

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
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


def options(
    description: str | None, *, threads: int = 1, at_once: str = "runs side by side"
) -> argparse.ArgumentParser:
    """The words that these scripts take. Each adds where its runs go, and what it takes alone."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--split", choices=["development", "final"], default="development", help="final is looked at once"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=threads, help="of each run")
    parser.add_argument("--at-once", type=int, default=1, help=at_once)
    return parser


def do_seeds(
    one_seed: Callable[[int, argparse.Namespace], dict[str, Any]], words: argparse.Namespace
) -> list[dict[str, Any]]:
    """Do the seeds that are asked for, a few at a time, and return what each came to."""
    with ThreadPoolExecutor(words.at_once) as pool:
        return list(pool.map(lambda seed: one_seed(seed, words), words.seeds))


def seeded(seed: int, words: argparse.Namespace) -> list[str]:
    """What lays a seed and the split that is asked for over a run file whose first source makes its questions."""
    return [f"seed={seed}", f"data.sources.0.seed={seed}", f"data.sources.0.test_split={words.split}"]


def calltune(run_file: Path, output: Path, name: str, threads: int, *overrides: str, is_nice: bool = True) -> Path:
    """Do a run in a process of its own; what is complete from an earlier try is not done again."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    # Without MLflow: runs that begin together would make one database together.
    words = [f"output={output}", f"name={name}", "tracking.mlflow=false", *overrides]
    nice = ["nice", "-n", "5"] if is_nice else []
    command = [*nice, sys.executable, "-m", "calltune", "run", str(run_file), *words]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return output / name


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def one_by_one(questions_file: Path, run: Path, checkpoint: str) -> dict[str, list[float | None]]:
    """For each figure, one value a question; None where the figure does not count it, or it was not asked."""
    questions = {row["uuid"]: row for row in read_lines(questions_file)}
    chosen, written = (run / "eval" / checkpoint / name for name in BENCHMARKS)
    ranked = {}
    if (chosen / "scores.jsonl").is_file():
        ranked = {row["sample_id"]: row["value"] for row in read_lines(chosen / "scores.jsonl")}
    scores = {row["sample_id"]: row for row in read_lines(written / "scores.jsonl")}
    answers = {row["sample_id"]: row["message"] for row in read_lines(written / "completions.jsonl")}
    found: dict[str, list[float | None]] = {figure: [] for figure in FIGURES}
    for key, question in questions.items():
        right, shown = question["correct_answer"], scores[key]["label"]
        wants_call, calls = right == "tool_call", (answers[key] or {"tool_calls": []})["tool_calls"]
        values = {
            "acc_norm": ranked.get(key),
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
        file = run / "eval" / checkpoint / benchmark / "result.json"
        if not file.is_file():
            continue
        result = read(file)
        kept = names if benchmark == "when2call" else (*names, *DETAILS)
        found |= {name: result["metrics"][name] for name in kept}
        found |= {f"{name}_interval": result["intervals"][name] for name in kept if name in result["intervals"]}
    return found


def measured(seed: int, places: Mapping[str, tuple[Path, str]], questions: Path, **beside: Any) -> dict[str, Any]:
    """What is known of a seed: the metrics of each arm, of which some are printed, and its values by question.

    Args:
        places: by arm, its run and checkpoint.
        beside: what else is known, which the record has after the metrics.
    """
    found = {arm: metrics(*place) for arm, place in places.items()}
    short = {
        arm: [round(one[n], 3) for n in ("acc_norm", "behavior_accuracy", "malformed_rate")]
        for arm, one in found.items()
    }
    print(seed, short, file=sys.stderr)
    by_question = {arm: one_by_one(questions, *place) for arm, place in places.items()}
    return {"seed": seed, "figures": found, **beside, "by_question": by_question}


def print_record(
    seeds: Sequence[dict[str, Any]],
    setting: dict[str, Any],
    differences: Sequence[tuple[str, str]],
    first: Path,
    words: argparse.Namespace,
) -> None:
    """Print the record of seeds that `measured` gave.

    Args:
        setting: the table of the run file that the record is about.
        differences: the pairs of arms, the new one first.
        first: the first seed's run, whose versions are kept.
    """
    record = {
        "setting": setting,
        "split": words.split,
        "num_questions": len(seeds[0]["by_question"]["sft"]["behavior"]),
        "figures": FIGURES,
        "summary": {figure: summary(seeds, figure, differences) for figure in FIGURES},
        "seeds": [{key: value for key, value in seed.items() if key != "by_question"} for seed in seeds],
        "versions": read(first / "report.json")["versions"],
    }
    print(json.dumps(record, indent=2))


def continued(run_file: Path, run: Path, pairs_from: Path, name: str, words: Any, *overrides: str) -> Path:
    """More SFT of a run's SFT model on the chosen answers of pairs, for as many steps as DPO did on these.

    Args:
        run: whose SFT model, seed and questions are taken.
        pairs_from: the run whose `mined/pairs.jsonl` and number of DPO's steps are taken.
        overrides: such as the batch size that DPO had.
    """
    pairs = read_lines(pairs_from / "mined" / "pairs.jsonl")
    kept = [{"prompt": pair["prompt"], "completion": pair["chosen"], "tools": pair["tools"]} for pair in pairs]
    return more_sft(run_file, run, kept, read(pairs_from / "dpo" / "manifest.json")["steps"], name, words, *overrides)


def known_answers(run: Path) -> list[dict[str, Any]]:
    """All that a run's GRPO asked, with the known answers: its examples, and its pairs with the chosen one."""
    rows = read_lines(run / "data" / "train.jsonl")
    pairs = read_lines(run / "data" / "preferences.jsonl")
    examples = [{"prompt": r["messages"][:-1], "completion": r["messages"][-1:], "tools": r["tools"]} for r in rows]
    return examples + [{"prompt": p["prompt"], "completion": p["chosen"], "tools": p["tools"]} for p in pairs]


def more_sft(
    run_file: Path, run: Path, kept: Sequence[dict[str, Any]], steps: int, name: str, words: Any, *overrides: str
) -> Path:
    """More SFT of a run's SFT model on rows, for so many steps; it answers the run's own questions."""
    rows = words.output / f"{name}.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    questions = run / "data" / "test.jsonl"
    return calltune(
        run_file,
        words.output,
        name,
        words.threads,
        f"seed={read(run / 'config.json')['seed']}",
        f"model={run / 'sft'}",
        'stages=["sft"]',
        'evaluate.checkpoints=["sft"]',
        f'data.sources=[{{name = "chat_jsonl", path = "{rows}"}}]',
        f"sft.max_steps={steps}",
        *(f"evaluate.benchmarks.{number}.path={questions}" for number in range(2)),
        *overrides,
    )


def means(values: Sequence[Sequence[float | None]]) -> float:
    """The mean over seeds of the mean over the questions that count; a seed without one has no part in it."""
    inner = [kept for one in values if (kept := [value for value in one if value is not None])]
    return sum(sum(one) / len(one) for one in inner) / len(inner)


def summary(
    seeds: Sequence[dict[str, Any]], figure: str, differences: Sequence[tuple[str, str]], part: str | None = None
) -> dict[str, Any]:
    """Each arm's mean over seeds, its lowest and highest, and the differences with 95 % intervals.

    Args:
        seeds: of each, `by_question` has a value a question for each arm and figure, and `sources` each question's.
        differences: the pairs of arms, the new one first. What one of them lacks is left out.
        part: the source whose questions alone count.
    """
    arms = {arm: [_of_part(one, arm, figure, part) for one in seeds] for arm in seeds[0]["by_question"]}
    found: dict[str, Any] = {}
    for arm, values in arms.items():
        each = [means([one]) for one in values if any(value is not None for value in one)]
        found[arm] = {"mean": sum(each) / len(each), "lowest": min(each), "highest": max(each)}
    for new, old in differences:
        if new not in arms or old not in arms:
            continue
        pairs = [
            [a - b for a, b in zip(first, second, strict=True) if a is not None and b is not None]
            for first, second in zip(arms[new], arms[old], strict=True)
        ]
        pairs = [pair for pair in pairs if pair]
        found[f"{new} - {old}"] = {"mean": means(pairs), "interval": interval(pairs), "seeds": len(pairs)}
    return found


def _of_part(seed: dict[str, Any], arm: str, figure: str, part: str | None) -> list[float | None]:
    values = seed["by_question"][arm][figure]
    if part is None:
        return values
    return [value for value, source in zip(values, seed["sources"], strict=True) if source == part]


def interval(differences: Sequence[Sequence[float]]) -> list[float]:
    """The 95 % percentile interval of the mean, resampling seeds and then each drawn seed's questions."""
    rng = random.Random(0)
    drawn = sorted(
        means([rng.choices(one, k=len(one)) for one in rng.choices(differences, k=len(differences))])
        for _ in range(RESAMPLES)
    )
    return [drawn[round(0.025 * RESAMPLES)], drawn[round(0.975 * RESAMPLES) - 1]]
