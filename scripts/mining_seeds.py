"""Preference training on given pairs against pairs mined from the model's own mistakes; docs/benchmarks/mining.json.

python scripts/mining_seeds.py --split final --at-once 3 > docs/benchmarks/mining.json

For each seed SFT and DPO as examples/quickstart.toml has them, then, from the same SFT model and with the same settings
and as many pairs, DPO as examples/quickstart-mine.toml has it. Both, and SFT, answer the same held-out questions. With
--control also more SFT on the chosen answers of the mined pairs: what mining has over it comes from the rejected ones.
Differences are paired by question within a seed and resampled in two stages, seeds and then questions.
"""

import argparse
import tomllib
from pathlib import Path
from typing import Any

from ladder import ROOT, calltune, continued, do_seeds, measured, options, print_record, read, seeded

GIVEN, MINED = (ROOT / "examples" / f"{name}.toml" for name in ("quickstart", "quickstart-mine"))
DIFFERENCES = (("given", "sft"), ("mined", "sft"), ("mined", "given"), ("mined", "control"))


def one_seed(seed: int, words: argparse.Namespace) -> dict[str, Any]:
    """Both ways for one seed."""
    name, laid_over = f"mining-{words.split}-{seed}", seeded(seed, words)
    checkpoints = 'evaluate.checkpoints=["sft", "dpo"]'
    given = calltune(GIVEN, words.output, name, words.threads, *laid_over, checkpoints)
    from_sft = [f"model={given / 'sft'}", 'stages=["dpo"]', 'evaluate.checkpoints=["dpo"]']
    mined = calltune(MINED, words.output, f"{name}-mined", words.threads, *laid_over, *from_sft)
    places = {"sft": (given, "sft"), "given": (given, "dpo"), "mined": (mined, "dpo")}
    if words.control:
        places["control"] = (continued(GIVEN, given, mined, f"{name}-control", words), "sft")
    told = read(mined / "mined" / "statistics.json")
    kept = {key: value for key, value in told.items() if isinstance(value, int) or key.startswith("num_")}
    kept |= {f"num_{key}": len(told[key]) for key in ("easy", "never_right", "contradicting", "not_verified")}
    steps = {arm: read(run / "dpo" / "manifest.json")["steps"] for arm, run in (("given", given), ("mined", mined))}
    return measured(seed, places, given / "data" / "test.jsonl", dpo_steps=steps, mining=kept)


def main() -> None:
    """Run the seeds, a few at a time, and write the record."""
    parser = options(__doc__)
    parser.add_argument("--control", action="store_true", help="train and measure the control, too")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "mining")
    words = parser.parse_args()
    seeds = do_seeds(one_seed, words)
    first = words.output / f"mining-{words.split}-{words.seeds[0]}"
    print_record(seeds, tomllib.loads(MINED.read_text())["mine"], DIFFERENCES, first, words)


if __name__ == "__main__":
    main()
