"""SFT on an agent's traces, whose tools never change: calltune's shared prefixes against TRL's trainer, one thread.

    python bench/sft_agent.py [--quick | --narrower N]

One step has 16 samples, one for each of 16 assistant turns. Both sides train the same Qwen3-0.6B blocks (few of them,
random weights) on the same batch and must give the same gradients. `defaults`: TRL as it comes, with checkpointing and,
on a CPU, the LM head at every position, against calltune without checkpointing. `equal`: both sides use checkpointing,
and calltune's labelled head is laid over TRL's trainer.

`fixed_tools` are random turns, their tools in one order, as an agent sends them. `long_tools` have more tools, 2,000
tokens of them. `shuffled_tools` are turns as the real file has them, in which each trace has the tools in an order of
its own, in batches as `data.group_by` makes them: turns of one trace share, those of two traces hardly do. What
is compared is the process's CPU seconds of forward and backward passes. The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
from calltune.calling.chat import Chat
from calltune.models.load import load_tokenizer
from calltune.training.grouping import GroupedSampler
from calltune.training.labelled_head import score_labels_only
from calltune.verbs.sft import row_text
from material import qwen3, rows
from material.measures import cpu_name
from material.training import batches_of, be_quiet, compare, make_trainer, rounded, share

SAMPLES = 16
LAYERS = 1  # the vocabulary is smaller by as much
LONG_PREFIX = 2_000
TARGETS = {"fixed_tools": 6.0, "long_tools": 8.0}
NARROWER_IN_A_HURRY = 4


def measure(folder, chat, samples, with_defaults):
    """CPU seconds and memory of one step of all samples, by side."""
    texts = [row_text(chat, sample) for sample in samples]
    options = {"per_device_train_batch_size": len(texts)}
    ours = make_trainer("sft", folder, chat, texts, **options)
    equal = make_trainer("sft", folder, chat, texts, **options)
    score_labels_only(equal.model)
    sides = {"ours_checkpointed": ours, "equal": equal}
    if with_defaults:
        sides["ours"] = make_trainer("sft", folder, chat, texts, **options, gradient_checkpointing=False)
        sides["defaults"] = make_trainer("sft", folder, chat, texts, **options)
    sharing = [share(trainer) for name, trainer in sides.items() if name.startswith("ours")]
    for each in sharing:
        # The first pass is checked against the plain one; that is a matter of one batch, not of a run.
        each.is_checked = True
    seconds, growths, difference = compare(sides, batches_of(ours))
    found = {
        "ratio_defaults": round(seconds["defaults"] / seconds["ours"], 2) if with_defaults else None,
        "ratio_equal": round(seconds["equal"] / seconds["ours_checkpointed"], 2),
        "cpu_seconds": rounded(seconds),
        "peak_mib_of_a_step": growths,
        "tokens_of_tools": len(chat.tokenizer(chat.prompt([rows.Message("user", "")], samples[0].tools)).input_ids),
        "tokens_padded": sharing[0].num_padded_tokens,
        "tokens_in_rows": sharing[0].num_row_tokens,
        "tokens_computed": sharing[0].num_computed_tokens,
        "largest_relative_gradient_difference": float(f"{difference:.1e}"),
    }
    print(found, flush=True)
    return found


def grouped(samples):
    """One batch as `data.group_by` makes it."""
    order = iter(GroupedSampler([str(sample.tools) for sample in samples], SAMPLES, seed=0))
    return [samples[number] for number in islice(order, SAMPLES)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="narrower blocks, fixed tools, early turns")
    parser.add_argument("--narrower", type=int, default=1, choices=(1, 2, 4), help="divides the block's width")
    asked = parser.parse_args()
    quick, narrower = asked.quick, NARROWER_IN_A_HURRY if asked.quick else asked.narrower
    be_quiet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = qwen3.save_tokenizer(folder, LAYERS)
        qwen3.save_model(folder, LAYERS, narrower=narrower)
        chat = Chat(load_tokenizer(str(folder)))
        turns, description = rows.turns()
        print(f"{description}: {SAMPLES} of {len(turns)} samples, {vocabulary}")
        samples = rows.drawn(turns, SAMPLES, hurry=quick)
        measured = {"fixed_tools": measure(folder, chat, samples, not quick)}
        if not quick:
            tools = rows.more_tools(chat, samples[0].tools, LONG_PREFIX)
            measured["long_tools"] = measure(folder, chat, [replace(sample, tools=tools) for sample in samples], True)
            measured["shuffled_tools"] = measure(folder, chat, grouped(turns), False)
    result = {
        "name": "sft_agent",
        "ratio": measured["fixed_tools"]["ratio_equal" if quick else "ratio_defaults"],
        "peer": "trl.SFTTrainer"
        + (", LM head at labels alone, checkpointing on both sides" if quick else " as it comes"),
        "versions": {name: version(name) for name in ("trl", "torch", "transformers", "tokenizers")},
        **measured,
        "samples": SAMPLES,
        "targets": TARGETS,
        "data": f"{description}, {vocabulary}",
        "layers": LAYERS,
        "vocabulary": qwen3.vocabulary_for(LAYERS),
        "narrower": narrower,
        "cpu": cpu_name(),
        "quick": quick,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
