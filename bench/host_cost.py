"""What shared prefixes cost the host: milliseconds of the process for a batch's layout, and calls of torch in a layer.

    python bench/host_cost.py [--quick]

For 8 and 32 preference pairs, 32 rows of SFT and 64 turns of an agent, in Qwen3's tokens: processor milliseconds of
laying the batch out in the collator, and of what is left for the process that trains, whose batches come from two
worker processes (taking them over, the packed row, the labels' places), beside the same without a layout, in the
forward pass, which is the path of batches that come from elsewhere. Operations are counted as torch dispatches them,
forward and backward, in the second half of four layers, where the one call of each kernel counts once. The last line
is one JSON object.
"""

import argparse
import collections
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from torch.nn.attention import flex_attention, varlen
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from transformers import Qwen3Config, Qwen3ForCausalLM

from calltune.calling.chat import Chat
from calltune.models.load import load_tokenizer
from calltune.models.prefix import backbone_outputs, shared_attention
from calltune.models.trie import pack
from calltune.training.collating import LayOut, layout_of_batch
from calltune.training.flops import Flops
from calltune.training.layout import KEY, laid_out, layout_of
from calltune.training.sharing import _packed
from calltune.verbs import dpo, sft
from material import qwen3, rows
from material.measures import cpu_name
from material.training import batches_of, be_quiet, make_trainer

# Milliseconds of the process that trained, in the forward pass, before numpy laid rows out and the collator did it; the
# masks of blocks, another 2 to 10, left aside. Measured on the same batches and machine (AMD EPYC, one thread).
BEFORE = {"8 pairs": 3.16, "32 pairs": 11.74, "32 rows": 7.24, "64 turns": 12.87}
CASES = {"8 pairs": ("dpo", 8), "32 pairs": ("dpo", 32), "32 rows": ("sft", 32), "64 turns": ("turns", 64)}


def batch_of(folder, chat, kind, count):
    """One batch as TRL collates it, with DPO's labels as its trainer makes them."""
    if kind == "turns":
        texts = [sft.row_text(chat, sample) for sample in rows.drawn(rows.turns()[0], count, hurry=False)]
    else:
        pairs = rows.pairs(count)[0]
        texts = [dpo.row_text(chat, pair) for pair in pairs]
        if kind == "sft":
            texts = [{"prompt": text["prompt"], "completion": text["chosen"]} for text in texts]
    stage = "dpo" if kind == "dpo" else "sft"
    small = {"gradient_checkpointing": False, "per_device_train_batch_size": count}
    (batch,) = batches_of(make_trainer(stage, folder, chat, texts, **small))
    return dict(batch)


def milliseconds(work, times):
    """The median of the process's time for one call."""
    spent = []
    for _ in range(times + 2):
        begun = time.process_time()
        work()
        spent.append(1e3 * (time.process_time() - begun))
    return round(statistics.median(spent[2:]), 2)


def use(batch, flops):
    """What a step does of a batch before the first layer."""
    kwargs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    packed, _ = _packed(kwargs)
    flops.of(packed)
    laid = layout_of(**{"ids": kwargs["input_ids"], "mask": kwargs["attention_mask"]})
    if laid is not None:
        return laid.tensors["labels"][None], laid.tensors["wanted"][None], packed
    labels = batch.get("labels")
    if labels is None:
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    labelled = labels[:, 1:] != -100
    return labels[:, 1:][labelled][None], packed.index[:, :-1][labelled][None], packed


def from_workers(batch, flops, times):
    """Milliseconds of this process alone for each batch that two others collate and lay out."""

    def collate(_):
        # A batch of its own each time, as tensors move when they are sent.
        return {name: values.clone() for name, values in batch.items()}

    loader = DataLoader(
        range(4 * times), batch_size=1, collate_fn=LayOut(collate, None, True), num_workers=2, prefetch_factor=4
    )
    spent, after, begun = [], [], time.process_time()
    for each in loader:
        taken = time.process_time()
        layout = each.pop(KEY)
        with laid_out(each, layout, layout.parts[0]):
            use(each, flops)
        now = time.process_time()
        spent.append(1e3 * (now - begun))
        after.append(1e3 * (now - taken))
        begun = now
    # The first ones begin the workers.
    return {
        "main_process_ms": round(statistics.median(spent[4:]), 2),
        "after_receiving_ms": round(statistics.median(after[4:]), 2),
    }


def host_cost(batch, flops, times):
    """All figures of one batch."""
    tokens = _packed(batch)[0].ids.numel()
    return {
        "tokens_padded": batch["input_ids"].numel(),
        "tokens_computed": tokens,
        "collator_ms": milliseconds(lambda: layout_of_batch(batch, None, True), times),
        **from_workers(batch, flops, times),
        "in_forward_ms": milliseconds(lambda: use(batch, flops), times),
    }


@torch.library.custom_op("calltune_bench::one_call", mutates_args={})
def one_call(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A kernel, for counting: of the right shape, one operation in each direction."""
    return torch.zeros_like(query)


@torch.library.custom_op("calltune_bench::one_call_backward", mutates_args={})
def one_call_backward(
    gradient: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Its gradients."""
    return torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)


one_call.register_autograd(
    lambda ctx, gradient: one_call_backward(gradient, *ctx.saved_tensors),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


class Counted(TorchDispatchMode):
    """Counts what torch dispatches."""

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        """Count an operation and do it."""
        self.counts[str(operation)] += 1
        return operation(*args, **(kwargs or {}))


def operations(layers, way, packed, half):
    """Operations of a backbone's forward and backward pass over a packed row, or over one plain row."""
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    config = Qwen3Config(**sizes, head_dim=16, vocab_size=200_000, num_hidden_layers=layers)
    model = Qwen3ForCausalLM(config).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=half), Counted() as counted:
        if way is None:
            outputs = model.base_model(input_ids=packed.ids[:, :500], use_cache=False)
            outputs.last_hidden_state.sum().backward()
        else:
            with shared_attention(model):
                outputs = backbone_outputs(model, replace(packed, way=way, made={}))
                outputs.last_hidden_state.sum().backward()
    return sum(counted.counts.values())


def of_a_layer(packed):
    """Operations of a layer by way, in float32 and under autocast, as multiples of a plain layer's too."""
    found = {}
    kernels = varlen.varlen_attn, flex_attention.flex_attention
    varlen.varlen_attn = lambda q, k, v, *others, window_size, scale, enable_gqa: one_call(q, k, v)
    flex_attention.flex_attention = lambda q, k, v, block_mask, scale, enable_gqa: one_call(q, k, v)
    try:
        for half in (False, True):
            for way in (None, "varlen", "flex", "blocks"):
                four, two = (operations(layers, way, packed, half) for layers in (4, 2))
                found["bf16" if half else "float32", way or "plain"] = (four - two) / 2
    finally:
        varlen.varlen_attn, flex_attention.flex_attention = kernels
    return {
        precision: {
            way: {"operations": count, "times_plain": round(count / found[precision, "plain"], 2)}
            for (where, way), count in found.items()
            if where == precision
        }
        for precision in ("float32", "bf16")
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the 8 pairs alone, few repetitions")
    asked = parser.parse_args()
    be_quiet()
    times = 3 if asked.quick else 25
    cases = {name: case for name, case in CASES.items() if not asked.quick or name == "8 pairs"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = qwen3.save_tokenizer(folder, qwen3.LAYERS)
        qwen3.save_model(folder, narrower=4)
        chat = Chat(load_tokenizer(str(folder)))
        batches = {name: batch_of(folder, chat, *case) for name, case in cases.items()}
    flops = Flops(Qwen3ForCausalLM(Qwen3Config(num_hidden_layers=1, hidden_size=64, intermediate_size=64)))
    found = {}
    for name, batch in batches.items():
        found[name] = host_cost(batch, flops, times)
        print(name, found[name], flush=True)
    lengths = batches["8 pairs"]["attention_mask"].sum(1).tolist()
    ids = batches["8 pairs"]["input_ids"].tolist()
    layer = of_a_layer(pack([row[:length] for row, length in zip(ids, lengths, strict=True)]))
    worst = max(each["main_process_ms"] for each in found.values())
    result = {
        "name": "host_cost",
        "ratio": round(min(BEFORE[name] / each["main_process_ms"] for name, each in found.items()), 2),
        "peer": "calltune before batches were laid out in the collator (before_ms, recorded)",
        "versions": {name: version(name) for name in ("trl", "torch", "transformers", "numpy")},
        "largest_main_process_ms": worst,
        "batches": found,
        "before_ms": {name: BEFORE[name] for name in found},
        "operations_of_a_layer": layer,
        "data": f"{rows.pairs(1)[1]}; {rows.turns()[1]}; {vocabulary}",
        "cpu": cpu_name(),
        "quick": asked.quick,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
