"""DPO on tool calling: TRL's trainer with calltune's shared prefixes against TRL's trainer, one process, one thread.

    python bench/dpo.py [--quick]

Both sides train the same Qwen3-0.6B blocks (few of them, random weights) on the same batches, and must give the same
gradients. `equal`: neither side uses checkpointing, both know the reference's log-probabilities beforehand, and both
compute the LM head at labels alone (calltune's labelled head is laid over TRL's trainer, which on a CPU computes it
everywhere). `defaults`: TRL as it comes, with checkpointing, a reference model on the same padded rows, the full head;
calltune's part of the reference pass is added to its side, once for an epoch, or a third of it for three.
What is compared is the process's CPU seconds of forward and backward passes. The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
from trl.trainer.dpo_config import DPOConfig

from calltune.calling.chat import Chat
from calltune.models.load import load_tokenizer
from calltune.training.labelled_head import score_labels_only
from calltune.training.reference import stand_in, store_reference
from calltune.verbs.dpo import row_text
from material import qwen3, rows
from material.measures import cpu_name, cpu_seconds
from material.training import batches_of, be_quiet, compare, make_trainer, rounded, share

TARGETS = {"ratio_equal": 1.9, "ratio_defaults": 3.5}
EPOCHS = 3
NARROWER_IN_A_HURRY = 2


def measure(folder, chat, texts, pairs_per_batch):
    """CPU seconds and peaks of the three sides over all rows."""
    options = {"per_device_train_batch_size": pairs_per_batch}
    lean = {**options, "gradient_checkpointing": False}
    small = stand_in(DPOConfig(output_dir=str(folder), use_cpu=True, bf16=False), is_peft=False)
    ours = make_trainer("dpo", folder, chat, texts, **lean, **small)
    sharing = share(ours)
    _, reference_seconds = cpu_seconds(lambda: store_reference(ours, folder / "reference", sharing))
    equal = make_trainer("dpo", folder, chat, texts, **lean, **small)
    score_labels_only(equal.model)
    equal.train_dataset, equal.precompute_ref_logps, equal.ref_model = ours.train_dataset, True, None
    defaults = make_trainer("dpo", folder, chat, texts, **options)
    batches = batches_of(ours)
    # The first pass is checked against the plain one; that is a matter of one batch, not of a run.
    sharing.is_checked = True
    sides = {"ours": ours, "equal": equal, "defaults": defaults}
    seconds, growths, difference = compare(sides, batches)
    return {
        "ratio_equal": round(seconds["equal"] / seconds["ours"], 2),
        "ratio_defaults": round(seconds["defaults"] / (seconds["ours"] + reference_seconds / EPOCHS), 2),
        "ratio_defaults_one_epoch": round(seconds["defaults"] / (seconds["ours"] + reference_seconds), 2),
        "cpu_seconds": rounded({**seconds, "reference": reference_seconds}),
        "peak_mib_of_a_step": growths,
        "pairs": len(texts),
        "pairs_per_batch": pairs_per_batch,
        "tokens_padded": sharing.num_padded_tokens,
        "tokens_in_rows": sharing.num_row_tokens,
        "tokens_computed": sharing.num_computed_tokens,
        "largest_relative_gradient_difference": float(f"{difference:.1e}"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two pairs and narrower blocks, under a minute")
    quick = parser.parse_args().quick
    be_quiet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = qwen3.save_tokenizer(folder)
        qwen3.save_model(folder, narrower=NARROWER_IN_A_HURRY if quick else 1)
        chat = Chat(load_tokenizer(str(folder)))
        pairs, description = rows.pairs(40 if quick else 12)
        texts = [row_text(chat, pair) for pair in pairs]
        if quick:
            texts = sorted(texts, key=lambda text: len(text["prompt"]))[12:28:8]
        print(f"{description}: {len(texts)} pairs, {vocabulary}")
        measured = measure(folder, chat, texts, 2 if quick else 4)
        # Without padding on either side: what sharing alone is worth.
        alone = measure(folder, chat, texts[:4], 1)["ratio_equal"] if not quick else None
    result = {
        "name": "dpo",
        "ratio": measured["ratio_equal"],
        "peer": "trl.DPOTrainer: head at labels alone, no checkpointing, reference known (ratio_defaults: as it comes)",
        "versions": {name: version(name) for name in ("trl", "torch", "transformers", "tokenizers")},
        **measured,
        "ratio_equal_one_pair_a_batch": alone,
        "targets": TARGETS,
        "epochs_of_ratio_defaults": EPOCHS,
        "data": f"{description}, {vocabulary}",
        "layers": qwen3.LAYERS,
        "vocabulary": qwen3.VOCABULARY,
        "narrower": NARROWER_IN_A_HURRY if quick else 1,
        "cpu": cpu_name(),
        "quick": quick,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
