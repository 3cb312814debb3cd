"""A step of 16 samples in passes of bounded tokens (`[launch] tokens_per_batch`): memory and time by the bound.

    python bench/passes.py [--quick]

One SFT step over 16 random assistant turns of real traces, their tools in one order, on blocks of Qwen3-0.6B's shapes
(few of them, random weights) on one CPU thread: without a bound, and with smaller and smaller ones, with shared
prefixes and without. The peer is TRL's own way to less memory, accumulation over fixed micro-batches. Every way must
give the gradients of the whole step. The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
from calltune.calling.chat import Chat
from calltune.models.load import load_tokenizer
from calltune.training.labelled_head import score_labels_only
from calltune.training.passes import bound_passes
from calltune.verbs.sft import row_text
from material import qwen3, rows
from material.measures import cpu_name, cpu_seconds, peak_mib
from material.training import batches_of, be_quiet, gradient, make_trainer, relative_difference, share

SAMPLES = 16
LAYERS = 1  # the vocabulary is smaller by as much
SHARED, PADDED = (None, 4_096, 2_048), (None, 16_384, 8_192, 4_096)
BOUND_IN_A_HURRY = 2_048
FIXED = 2  # rows of TRL's micro-batches


def make(folder, chat, texts, bound, is_shared, size=SAMPLES):
    """A trainer whose passes are bounded, and its counts."""
    trainer = make_trainer(
        "sft", folder, chat, texts, per_device_train_batch_size=size, gradient_checkpointing=False, seed=0
    )
    if is_shared:
        sharing = share(trainer)
        sharing.is_checked = True  # of one batch, not of a run
    else:
        score_labels_only(trainer.model)
    return trainer, bound_passes(trainer, bound or 10**9, lambda: is_shared)


def measured(trainer, batches, num_items):
    """The peak growth in MiB, CPU seconds, and the gradient of one step over these batches."""
    trainer.model.zero_grad(set_to_none=True)
    trainer.current_gradient_accumulation_steps = len(batches)
    spent = []

    def step():
        for batch in batches:
            trainer.training_step(trainer.model, dict(batch), num_items)

    grown = peak_mib(lambda: spent.append(cpu_seconds(step)[1]))
    found = gradient(trainer)
    trainer.model.zero_grad(set_to_none=True)
    return grown, spent[0], found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one narrow block, early turns, two bounds")
    parser.add_argument("--narrower", type=int, default=1, choices=(1, 2, 4), help="divides the block's width")
    asked = parser.parse_args()
    be_quiet()
    quick, narrower, layers = asked.quick, 4 if asked.quick else asked.narrower, 1 if asked.quick else LAYERS
    bounds = {True: (None, BOUND_IN_A_HURRY) if quick else SHARED, False: (BOUND_IN_A_HURRY,) if quick else PADDED}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = qwen3.save_tokenizer(folder, layers)
        qwen3.save_model(folder, layers, narrower=narrower)
        chat = Chat(load_tokenizer(str(folder)))
        turns, description = rows.turns()
        samples = rows.drawn(turns, SAMPLES, hurry=quick)
        texts = [row_text(chat, sample) for sample in samples]
        found, expected, worst = [], None, 0.0
        ways = [(is_shared, bound, SAMPLES) for is_shared in (True, False) for bound in bounds[is_shared]]
        trainer, _ = make(folder, chat, texts, BOUND_IN_A_HURRY, True)
        trainer.training_step(trainer.model, dict(batches_of(trainer)[0]), 1)  # the first step of a process is slow
        for is_shared, bound, size in [*ways, (False, None, FIXED)]:
            trainer, passes = make(folder, chat, texts, bound, is_shared, size)
            batches = batches_of(trainer)
            num_items = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
            grown, seconds, its = measured(trainer, batches, num_items)
            expected = its if expected is None else expected
            worst = max(worst, relative_difference(its, expected))
            row = {"shared": is_shared, "bound": bound, "rows": size, "passes": passes.num_passes}
            found.append(row | {"peak_mib_of_a_step": grown, "cpu_seconds": round(seconds, 2)})
            print(found[-1], flush=True)
    assert worst < 1e-4, f"gradients differ by {worst:.1e}, relative"
    result = {
        "name": "passes",
        "ratio": round(found[-1]["cpu_seconds"] / found[len(bounds[True]) - 1]["cpu_seconds"], 2),
        "peer": f"accumulation over fixed micro-batches of {FIXED} rows, LM head at labels alone",
        "versions": {name: version(name) for name in ("trl", "torch", "transformers", "tokenizers")},
        "steps": found,
        "largest_relative_gradient_difference": float(f"{worst:.1e}"),
        "data": f"{description}, {vocabulary}",
        "samples": SAMPLES,
        "layers": layers,
        "narrower": narrower,
        "vocabulary": qwen3.vocabulary_for(layers),
        "cpu": cpu_name(),
        "quick": quick,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
