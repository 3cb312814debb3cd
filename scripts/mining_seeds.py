"""Preference training on given pairs against pairs mined from the model's own mistakes; docs/benchmarks/mining.json.

python scripts/mining_seeds.py --split final --at-once 3 > docs/benchmarks/mining.json

For each seed SFT and DPO as examples/quickstart.toml has them, then, from the same SFT model and with the same settings
and as many pairs, DPO as examples/quickstart-mine.toml has it. Both, and SFT, answer the same held-out questions. With
--control also more SFT on the chosen answers of the mined pairs: what mining has over it comes from the rejected ones.
Differences are paired by question within a seed and resampled in two stages, seeds and then questions.
"""

import argparse
import json
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ladder import FIGURES, ROOT, calltune, continued, metrics, one_by_one, read, summary

GIVEN, MINED = (ROOT / "examples" / f"{name}.toml" for name in ("quickstart", "quickstart-mine"))
DIFFERENCES = (("given", "sft"), ("mined", "sft"), ("mined", "given"), ("mined", "control"))


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
        places["control"] = (continued(GIVEN, given, mined, f"{name}-control", words), "sft")
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
        "summary": {figure: summary(seeds, figure, DIFFERENCES) for figure in FIGURES},
        "seeds": [{key: value for key, value in seed.items() if key != "by_question"} for seed in seeds],
        "versions": read(first / "report.json")["versions"],
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
