"""What calltune's training and scoring take on a GPU, beside TRL and the roofline, within minutes by its own clock.

    python bench/gpu.py --out FOLDER [--limit 360] [--only 1,2] [--smollm2 FOLDER --when2call FOLDER]
    python bench/gpu.py --dry | --quick

The model has Qwen3-1.7B's shape and random weights, and rows are made up in the shapes of tool-calling data, so that
neither a network nor data are needed. The variants stand in the order of their worth; one that is expected to take
longer than the time that is left is skipped, with its reason. After each of them FOLDER/gpu.json is written anew.
FOLDER/work holds models and runs meanwhile. Beside each time stands what the useful work (each distinct token once)
would take at the device's peak, and at 40 % of it.

`--dry` runs all of it on a CPU, with two narrow layers: its times say nothing, its losses must agree. `--quick` does
the most telling half of that. The last line is one JSON object.
"""

import argparse
import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
if importlib.util.find_spec("calltune") is None:
    sys.path.insert(0, str(ROOT / "src"))
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
# One GPU is measured; transformers' trainer would split its batches over all that it sees.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
from calltune.runtime.allocator import let_memory_grow  # noqa: E402

let_memory_grow()  # torch reads it when it is imported
import datasets  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from material import gpu_asking as asking  # noqa: E402
from material import gpu_kernels as kernels  # noqa: E402
from material import gpu_trainers as trainers  # noqa: E402
from material.gpu_commands import Commands, ladder  # noqa: E402
from material.gpu_model import Machine, asked  # noqa: E402
from material.gpu_peers import trls as trls_trainer  # noqa: E402
from material.gpu_record import Record, Variant, table  # noqa: E402

OURS, PEER = "as calltune comes, DPO", "TRL at its best, DPO"
QUICK = 22  # variants: matrices, kernels, steps of both sides, questions, profiles
PACKAGES = ("torch", "transformers", "trl", "accelerate", "peft", "liger_kernel", "flash_attn", "torchao")


def variants_of(machine: Machine, record: Record, asked_for: argparse.Namespace) -> list[Variant]:
    """All that is measured, the most telling first, with the seconds it takes on an H200; later ones are guessed."""
    few = machine.is_dry
    pairs, many_pairs, examples, turns, questions = (2, 3, 2, 4, 4) if few else (8, 32, 32, 64, asking.QUESTIONS)
    ours, loaded = partial(trainers.ours, machine), partial(trainers.loaded, machine)
    trls = partial(trls_trainer, machine)
    commands = Commands(machine)
    return [
        Variant("matmul in bf16", 2, partial(asking.matmul, machine)),
        Variant("DPO, blocks, cuDNN's attention first", 25, partial(ours, "dpo", pairs, "blocks", cudnn=True)),
        Variant("DPO, blocks", 5, partial(ours, "dpo", pairs, "blocks")),
        Variant("one call of attention, blocks", 2, partial(asking.kernel_check, machine, "blocks")),
        Variant("one call of attention, varlen", 2, partial(asking.kernel_check, machine, "varlen")),
        Variant("DPO, varlen", 4, partial(ours, "dpo", pairs, "varlen")),
        Variant("DPO, a large batch, varlen", 6, partial(ours, "dpo", many_pairs, "varlen")),
        Variant(PEER, 10, partial(trls, "dpo", True)),
        Variant("DPO, a large batch, varlen, Liger", 7, partial(kernels.with_liger, machine, "dpo", many_pairs)),
        Variant(OURS, 36, partial(loaded, "dpo", many_pairs)),
        Variant("SFT, varlen", 6, partial(ours, "sft", examples, "varlen")),
        Variant("TRL at its best, SFT", 5, partial(trls, "sft", True)),
        Variant("SFT, varlen, Liger", 6, partial(kernels.with_liger, machine, "sft", examples)),
        Variant("agent, varlen", 7, partial(ours, "agent", turns, "varlen")),
        Variant("TRL at its best, agent", 5, partial(trls, "agent", True)),
        Variant("agent, varlen, Liger", 6, partial(kernels.with_liger, machine, "agent", turns)),
        Variant("as calltune comes, agent", 36, partial(loaded, "agent", turns)),
        Variant("four choices, varlen", 3, partial(asking.multiple_choice, machine, "varlen", questions)),
        Variant("four choices, varlen, Liger", 6, partial(kernels.choices_with_liger, machine, questions)),
        Variant("profile of an agent's step", 12, partial(kernels.profile, machine, "agent", turns)),
        Variant("profile of four choices", 8, partial(kernels.profile_of_choices, machine, questions)),
        Variant("profile of a DPO step", 12, partial(kernels.profile, machine, "dpo", many_pairs)),
        Variant("agent, flex, Liger", 45, partial(kernels.with_liger, machine, "agent", turns, "flex")),
        Variant("four choices, blocks", 8, partial(asking.multiple_choice, machine, "blocks", questions)),
        *(
            variant
            for stage in ("sft", "dpo")
            for variant in (
                Variant(f"calltune {stage}", 45, lambda stage=stage: commands.trained(stage, record.left())),
                Variant(f"calltune {stage}'s rows by TRL", 20, lambda s=stage: commands.by_peer(s, record.left())),
            )
        ),
        Variant("calltune evaluate", 45, lambda: commands.evaluated(record.left())),
        Variant("answers behind shared tools", 20, partial(asking.generation, machine, 4 if few else 64, 32)),
        Variant("TRL as it comes, DPO", 25, partial(trls, "dpo", False)),
        Variant("TRL as it comes, SFT", 20, partial(trls, "sft", False)),
        Variant("as calltune comes, SFT", 25, partial(loaded, "sft", examples)),
        Variant("float32 weights under autocast, DPO", 30, partial(kernels.in_float32, machine, many_pairs)),
        Variant("one call of attention, flex", 45, partial(asking.kernel_check, machine, "flex")),
        Variant("DPO, flex", 45, partial(ours, "dpo", pairs, "flex")),
        Variant("DPO, a large batch, flex", 16, partial(ours, "dpo", many_pairs, "flex")),
        Variant("SFT, flex", 15, partial(ours, "sft", examples, "flex")),
        Variant("agent, flex", 15, partial(ours, "agent", turns, "flex")),
        Variant("DPO, a large batch, blocks", 20, partial(ours, "dpo", many_pairs, "blocks")),
        Variant("SFT, blocks", 15, partial(ours, "sft", examples, "blocks")),
        Variant("DPO, a large batch, compiled norms and MLP", 60, partial(kernels.compiled, machine, many_pairs)),
        Variant(
            "SmolLM2's ladder",
            120,
            lambda: ladder(machine, asked_for.smollm2, asked_for.when2call, record.left()),
        ),
    ]


def agreement(variants: list[dict[str, Any]]) -> dict[str, float]:
    """By batches that several variants computed, the largest relative difference of a loss from the first one's."""
    first: dict[str, list[float]] = {}
    found: dict[str, float] = {}
    for row in variants:
        if row["status"] == "measured" and "batches" in row:
            expected = first.setdefault(row["batches"], row["losses"])
            differences = [abs(one - other) / abs(other) for one, other in zip(row["losses"], expected, strict=True)]
            found[row["batches"]] = float(f"{max(found.get(row['batches'], 0.0), *differences):.2g}")
    return found


def recipe_minutes(record: Record) -> float | None:
    """What When2Call's published recipe would take at the measured rates; None where one is missing.

    It is 15,000 rows and 9,000 pairs once, the pairs' reference (a forward pass), and three times 3,652 questions.
    """
    dpo = record.of(OURS) or record.of("DPO, a large batch, varlen")
    sft = record.of("as calltune comes, SFT") or record.of("SFT, varlen, Liger") or record.of("SFT, varlen")
    choices = ("four choices, varlen, Liger", "four choices, varlen", "four choices, blocks")
    questions = next(filter(None, map(record.of, choices)), None)
    if not (dpo and sft and questions):
        return None
    seconds = 15_000 / sft["rows_per_second"] + 9_000 * 4 / 3 / dpo["rows_per_second"]
    return round((seconds + 3 * 3_652 / questions["rows_per_second"]) / 60, 1)


def versions() -> dict[str, str]:
    """Of what is installed of the packages that matter."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where gpu.json and the commands' logs go; without it, nowhere")
    parser.add_argument("--limit", type=float, default=360.0, help="seconds in all; 360 by default")
    parser.add_argument("--only", default="", help="numbers of variants, such as 1,2; the others are skipped")
    parser.add_argument("--dry", action="store_true", help="everything on a CPU, small")
    parser.add_argument(
        "--quick", action="store_true", help="the same without what stands behind the profile, under 50 s"
    )
    parser.add_argument("--smollm2", type=Path, metavar="FOLDER", help="a model's folder, for a whole run")
    parser.add_argument("--when2call", type=Path, metavar="FOLDER", help="the run's rows: train_sft.jsonl and others")
    given = parser.parse_args()
    given.dry |= given.quick
    if not given.dry and not torch.cuda.is_available():
        parser.error("there is no GPU; --dry runs everything on a CPU, small")
    if not given.dry and given.out is None:
        parser.error("--out FOLDER is needed, on a disk with room for a few copies of the model (3.4 GB)")
    try:
        given.numbers = {int(number) for number in given.only.split(",") if number}
    except ValueError:
        parser.error(f"--only: numbers were expected, such as 1,2, not {given.only!r}")
    return given


def be_quiet() -> None:
    """No word but the benchmark's, and calltune's lines."""
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.simplefilter("ignore")


def measure(given: argparse.Namespace, out: Path) -> None:
    """Run the variants, and print their table and the last line."""
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    machine = Machine(work, given.dry)
    if given.dry:
        torch.set_num_threads(1)
    commit = asked(["git", "describe", "--always", "--dirty", "--abbrev=12"])
    facts = {"name": "gpu", **machine.facts(), "versions": versions(), "commit": commit, "limit_seconds": given.limit}
    record = Record(out / "gpu.json", {**facts, "dry": given.dry, "quick": given.quick}, given.limit, given.dry)
    try:
        for number, variant in enumerate(variants_of(machine, record, given), start=1):
            left_out = "it was not asked for" if given.numbers and number not in given.numbers else None
            if given.quick and number > QUICK:
                left_out = "--quick leaves it out"
            with machine.own_functions():
                record.measure(number, variant, left_out)
            if record.variants[-1]["status"] != "skipped":
                trainers.give_back()
        record.facts |= {"losses_differ_by": agreement(record.variants)}
        record.write()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(table(record.variants))
    ours = record.of(OURS) or record.of("DPO, a large batch, varlen")
    rates = [side.get("rows_per_second") for side in (ours, record.of(PEER))]
    result = {
        "name": "gpu",
        "ratio": round(rates[0] / rates[1], 2) if all(rates) else None,
        "peer": "trl.DPOTrainer at its best, pairs a second" + (" (on a CPU, small: it says nothing)" * given.dry),
        "versions": record.facts["versions"],
        "device": record.facts["device"],
        "commit": commit,
        "losses_differ_by": record.facts["losses_differ_by"],
        "minutes_of_the_published_recipe": recipe_minutes(record),
        "measured": sum(row["status"] == "measured" for row in record.variants),
        "skipped": sum(row["status"] == "skipped" for row in record.variants),
        "failed": [row["name"] for row in record.variants if row["status"] == "failed"],
        "quick": given.quick,
    }
    print(json.dumps(result, allow_nan=False))


def main() -> int:
    given = options()
    be_quiet()
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        measure(given, given.out.resolve())
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(given, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
