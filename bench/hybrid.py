"""DPO and an agent's SFT on hybrid models: calltune's shared prefixes against TRL's trainers, one process, one thread.

    python bench/hybrid.py [--quick | --narrower N] [--layers N] [--early] [--only MODEL STAGE]

The models are a few layers, of random weights, of Qwen3.5-0.8B (three with a gated delta rule, one that attends) and of
LFM2-350M (two short convolutions, one that attends). `dpo`: pairs in one batch, no checkpointing, the reference's
log-probabilities known beforehand. `sft`: 16 turns of one agent, its tools in one order, checkpointing. Both sides
train the same blocks on the same batch, compute the LM head at labels alone (calltune's labelled head is laid over
TRL's trainer too), and must give the same gradients. Kernels are transformers' own in plain torch. What is compared is
the process's CPU seconds of a forward and a backward pass. The last line is one JSON object, whose `ratio` is the
smallest.
"""

import argparse
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoTokenizer, Lfm2Config, Lfm2ForCausalLM, Qwen3_5ForCausalLM, Qwen3_5TextConfig
from trl.trainer.dpo_config import DPOConfig

from calltune.calling.chat import Chat
from calltune.models.load import load_tokenizer
from calltune.training.labelled_head import score_labels_only
from calltune.training.reference import stand_in, store_reference
from calltune.verbs import dpo, sft
from material import qwen3, rows
from material.measures import cpu_name
from material.training import batches_of, be_quiet, compare, make_trainer, rounded, share

SAMPLES = 16
PAIRS = {"qwen3_5": 2, "lfm2": 4}  # a plain step, which has no checkpointing, holds a MiB and more for each token
TARGETS = {"dpo": 1.6, "sft": 4.0}
NARROWER_IN_A_HURRY = 4
LAYERS = {
    "qwen3_5": ["linear_attention"] * 3 + ["full_attention"],
    "lfm2": ["conv", "conv", "full_attention"],
}


def qwen3_5(narrower, **shared):
    config = Qwen3_5TextConfig(
        intermediate_size=3584 // narrower,
        num_attention_heads=8 // narrower,
        num_key_value_heads=max(1, 2 // narrower),
        head_dim=256,
        linear_num_key_heads=16 // narrower,
        linear_num_value_heads=16 // narrower,
        **shared,
    )
    return Qwen3_5ForCausalLM(config)


def lfm2(narrower, **shared):
    config = Lfm2Config(
        intermediate_size=4608 // narrower,
        block_auto_adjust_ff_dim=False,
        num_attention_heads=16 // narrower,
        num_key_value_heads=8 // narrower,
        **shared,
    )
    return Lfm2ForCausalLM(config)


MODELS = {"qwen3_5": qwen3_5, "lfm2": lfm2}


def save_model(name, folder, layers, narrower):
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = MODELS[name](
        narrower,
        vocab_size=qwen3.VOCABULARY,
        hidden_size=1024 // narrower,
        num_hidden_layers=len(layers),
        layer_types=layers,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(str(folder))


def pair_texts(model, chat, quick, early):
    drawn, description = rows.pairs(40 if quick else PAIRS[model])
    texts = [dpo.row_text(chat, pair) for pair in drawn]
    # In a hurry, two pairs of middling length.
    return sorted(texts, key=lambda text: len(text["prompt"]))[12:28:8] if quick else texts, description


def turn_texts(model, chat, quick, early):
    turns, description = rows.turns()
    return [sft.row_text(chat, sample) for sample in rows.drawn(turns, SAMPLES, hurry=early)], description


def dpo_sides(folder, chat, texts):
    small = stand_in(DPOConfig(output_dir=str(folder), use_cpu=True, bf16=False), is_peft=False)
    options = {"per_device_train_batch_size": len(texts), "gradient_checkpointing": False, **small}
    ours, equal = (make_trainer("dpo", folder, chat, texts, **options) for _ in range(2))
    sharing = share(ours)
    store_reference(ours, folder / "reference", sharing)
    equal.train_dataset, equal.precompute_ref_logps, equal.ref_model = ours.train_dataset, True, None
    return ours, equal, sharing


def sft_sides(folder, chat, texts):
    ours, equal = (make_trainer("sft", folder, chat, texts, per_device_train_batch_size=len(texts)) for _ in range(2))
    return ours, equal, share(ours)


STAGES = {"dpo": (pair_texts, dpo_sides), "sft": (turn_texts, sft_sides)}


def measure(model, stage, quick, early, num_layers, narrower):
    """CPU seconds, memory and tokens of one batch on both sides."""
    layers = LAYERS[model][-num_layers:]
    texts_of, sides_of = STAGES[stage]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = qwen3.save_tokenizer(folder)
        save_model(model, folder, layers, narrower)
        chat = Chat(load_tokenizer(str(folder)))
        texts, description = texts_of(model, chat, quick, early)
        ours, equal, sharing = sides_of(folder, chat, texts)
        score_labels_only(equal.model)
        # The first pass is checked against the plain one; that is a matter of one batch, not of a run.
        sharing.is_checked = True
        seconds, growths, difference = compare({"ours": ours, "equal": equal}, batches_of(ours))
    found = {
        "ratio": round(seconds["equal"] / seconds["ours"], 2),
        "token_ratio": round(sharing.token_ratio, 2),
        "cpu_seconds": rounded(seconds),
        "peak_mib_of_a_step": growths,
        "layers": layers,
        "early_turns": early and stage == "sft",
        "rows": len(texts),
        "tokens_padded": sharing.num_padded_tokens,
        "tokens_in_rows": sharing.num_row_tokens,
        "tokens_computed": sharing.num_computed_tokens,
        "largest_relative_gradient_difference": float(f"{difference:.1e}"),
        "data": f"{description}, {vocabulary}",
    }
    print(model, stage, found, flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="two narrower layers, two pairs, early turns; under a minute"
    )
    parser.add_argument("--narrower", type=int, default=1, choices=(1, 2, 4), help="divides the layers' width")
    parser.add_argument("--layers", type=int, default=4, choices=(2, 3, 4), help="so many at most, the last ones")
    parser.add_argument("--early", action="store_true", help="turns of four messages at most: half the memory")
    parser.add_argument(
        "--only", nargs=2, metavar=("MODEL", "STAGE"), help="one measurement: qwen3_5 or lfm2, dpo or sft"
    )
    asked = parser.parse_args()
    narrower, num_layers = (NARROWER_IN_A_HURRY, 2) if asked.quick else (asked.narrower, asked.layers)
    wanted = [tuple(asked.only)] if asked.only else [(model, stage) for model in MODELS for stage in STAGES]
    if unknown := [pair for pair in wanted if pair[0] not in MODELS or pair[1] not in STAGES]:
        parser.error(f"there is no {' '.join(unknown[0])}")
    be_quiet()
    given = (asked.quick, asked.quick or asked.early, num_layers, narrower)
    measured = {f"{model} {stage}": measure(model, stage, *given) for model, stage in wanted}
    result = {
        "name": "hybrid",
        "ratio": min(found["ratio"] for found in measured.values()),
        "peer": "trl.DPOTrainer and trl.SFTTrainer: head at labels alone, equal settings",
        "versions": {name: version(name) for name in ("trl", "torch", "transformers", "tokenizers")},
        **measured,
        "targets": TARGETS,
        "vocabulary": qwen3.VOCABULARY,
        "narrower": narrower,
        "cpu": cpu_name(),
        "quick": asked.quick,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
