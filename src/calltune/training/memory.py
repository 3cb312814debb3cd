"""How much memory a training step takes on one device, and whether activations can be kept for the backward pass.

The estimate counts the weights, one gradient and AdamW's two moments in float32 for each weight trained, the reference
model of DPO where TRL keeps one, and what backward needs of every layer of a decoder with gated MLPs and SDPA or
FlashAttention. It does not count what a launcher shards away or adds, nor kernels' work space; a margin is left for it.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch

from calltune.errors import ConfigError
from calltune.models.device import free_bytes
from calltune.models.layer_kinds import attention_heads
from calltune.runtime.terminal import say
from calltune.training.batch_tokens import BatchTokens
from calltune.training.passes import check_passes
from calltune.training.reference import can_store
from calltune.training.settings import StageSettings
from calltune.training.tuning import count_parameters

_SHARE_TO_USE = 0.85
_FEWEST_TOKENS = 256  # of a pass, as in the run file
_MOST_TOKENS = 32_768  # of a pass that nobody asked for; larger ones keep no device busier


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder's sizes: widths in numbers for one token, parameters in numbers."""

    layers: int
    hidden: int
    mlp: int
    queries: int
    keys: int
    num_parameters: int
    num_trained: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a step takes at its largest."""

    weights: int
    gradients: int
    optimizer: int
    reference: int
    activations: int

    @property
    def total(self) -> int:
        """The sum of all parts, in bytes."""
        return self.weights + self.gradients + self.optimizer + self.reference + self.activations

    def fits(self, free: int) -> bool:
        """Say whether the step fits into so many free bytes, with a margin of a seventh."""
        return self.total <= _SHARE_TO_USE * free

    def text(self) -> str:
        """Return the parts in gigabytes; a part of nothing is left out."""
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "AdamW": self.optimizer,
            "reference": self.reference,
            "activations": self.activations,
        }
        return " + ".join(f"{name} {gigabytes(size)}" for name, size in parts.items() if size)


def gigabytes(size: int) -> str:
    """Write a number of bytes in units of 10^9, with two or three digits that say something."""
    return f"{size / 1e9:.{0 if size >= 10e9 else 2 if size >= 0.1e9 else 3}f}"


def training_memory(
    shape: Shape,
    *,
    weight_bytes: int,
    reference_bytes: int,
    tokens: int,
    autocast: bool,
    checkpointing: bool,
    trained_bytes: int = 4,
    optimizer_bytes: int | None = None,
) -> Memory:
    """Estimate what a step of AdamW takes.

    Args:
        weight_bytes: the weights as they are loaded, adapters included.
        reference_bytes: a second copy for DPO; 0 when there is none, as with adapters.
        tokens: those that one forward pass computes: distinct ones where prefixes are shared, else padding and all.
        autocast: whether matrices are multiplied in bf16, from weights that are kept in float32.
        checkpointing: whether a layer keeps its input alone and computes the rest twice.
        trained_bytes: bytes of one trained number, and so of its gradient and of each of its two moments.
        optimizer_bytes: what the optimiser keeps for one trained number, where that is not two moments.
    """
    kept = layer_bytes(shape, autocast)
    # The stream between layers stays in float32. With checkpointing one layer at a time is whole; and backward holds
    # the gradients of one layer's activations.
    stream = 4 * shape.hidden
    activations = stream * shape.layers + 2 * kept if checkpointing else kept * (shape.layers + 1)
    # Each forward pass keeps a bf16 copy of the float32 matrices that it multiplies with.
    copies = weight_bytes // 2 if autocast and weight_bytes >= 4 * shape.num_parameters else 0
    return Memory(
        weights=weight_bytes + copies,
        gradients=trained_bytes * shape.num_trained,
        optimizer=(optimizer_bytes or 2 * trained_bytes) * shape.num_trained,
        reference=reference_bytes,
        activations=tokens * (activations + 2 * stream),
    )


def layer_bytes(shape: Shape, autocast: bool) -> int:
    """Count the bytes that one layer keeps for backward, for each token.

    Each of the two norms keeps its input, the normed input and its output. Attention keeps queries and keys before and
    after their norm, rotated, the values, repeated to as many heads as there are queries, and its output. The gated MLP
    keeps four rows of its width. Under autocast the norms' are float32 with a bf16 copy, the others bf16.
    """
    norms = 2 * (3 * shape.hidden)
    attention = 3 * shape.queries + 4 * shape.keys + 3 * shape.queries
    mlp = 4 * shape.mlp
    if autocast:
        return 4 * norms + 2 * 2 * shape.hidden + 2 * (attention + mlp)
    return 4 * (norms + attention + mlp)


def shape_of(model: Any) -> Shape:
    """Read the sizes of a model, which may be one without weights; of its layers, the widest one's."""
    text = model.config.get_text_config()
    trained, everything = count_parameters(model)
    heads = attention_heads(text)
    return Shape(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        mlp=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        queries=max(queries * size for queries, _, size in heads),
        keys=max(keys * size for _, keys, size in heads),
        num_parameters=everything,
        num_trained=trained,
    )


@dataclass(frozen=True, slots=True)
class MemoryChoice:
    """How a stage keeps within the memory of its device; `tokens_per_batch` is None where a batch goes whole."""

    memory: Memory
    checkpointing: bool
    tokens_per_batch: int | None


def choose_memory(
    settings: StageSettings, skeleton: Any, batches: BatchTokens, free: int | None = None
) -> MemoryChoice:
    """Estimate a step's memory, choose how to keep within what is free, and tell the user the numbers in one line.

    Where prefixes are shared, a pass is bounded by the tokens that there is room for, if the run file has no bound; a
    batch within that is left whole. Activations are computed twice only where the longest row or pair would not fit
    otherwise, or, where passes cannot be bounded, the largest batch. The run file has the last word on both.

    Args:
        skeleton: the model as it will be trained, without weights.
        batches: what the stage's batches hold.
        free: bytes; by default those of this device, of which each process of a CPU has its share.
    """
    stage, given, bound = settings.stage, settings.checkpointing, settings.tokens_per_batch
    free = _free_for_this_process() if free is None else free
    bounds = [bound, bound]
    if bound is None and batches.is_shared and _may_be_bounded(settings, skeleton):
        bounds = [_bound_by(memory_of_tokens(settings, skeleton, 1, twice), free) for twice in (False, True)]
    choices = []
    for twice in (False, True):
        tokens = min(batches.largest, max(bounds[twice] or batches.largest, batches.longest))
        choices.append((tokens, memory_of_tokens(settings, skeleton, tokens, twice)))
    checkpointing = given if given is not None else not choices[False][1].fits(free)
    tokens, memory = choices[checkpointing]
    why = f" ({gigabytes(choices[False][1].total)} GB without)" if checkpointing else ""
    if given is not None:
        why = " (as the run file says)"
    what = f"{batches.num_rows:,} rows with {tokens:,} {'distinct ' if batches.is_shared else ''}tokens"
    if tokens < batches.largest:
        what = f"passes of {tokens:,} tokens"
    chosen = bounds[checkpointing]
    parts = "" if chosen is None or bound else f"; in one pass at most {chosen:,} tokens, for which there is room"
    say(
        f"{stage}: memory for {what}, estimated: {memory.text()} = {gigabytes(memory.total)} GB, "
        f"{gigabytes(free)} GB free; gradient checkpointing {'on' if checkpointing else 'off'}{why}{parts}"
    )
    if not memory.fits(free):
        lower = "launch.tokens_per_batch" if bound else "per_device_train_batch_size"
        longest = "max_completion_length" if stage == "grpo" else "max_length"
        lower = f"{longest} in [{stage}]" if tokens == batches.longest else f"{lower} or {longest} in [{stage}]"
        say(f"{stage}: that may not fit; lower {lower}, or use adapters")
    return MemoryChoice(memory, checkpointing, chosen)


def memory_of_tokens(settings: StageSettings, skeleton: Any, tokens: int, checkpointing: bool) -> Memory:
    """Estimate what a stage's step takes, with so many tokens in one pass.

    Args:
        skeleton: the model as it will be trained, without weights.
    """
    stage, shape = settings.stage, shape_of(skeleton)
    arguments: Any = settings.arguments
    trained, everything, has_adapters = shape.num_trained, shape.num_parameters, settings.tuning.has_adapters
    base = everything - (trained if has_adapters else 0)
    plain = torch.bfloat16 if settings.has_masters or (has_adapters and arguments.bf16) else torch.float32
    precision = settings.model_keys.get("dtype", plain).itemsize
    weights = precision * base + (4 * trained if has_adapters else 0)
    if settings.tuning.method == "qlora":
        in_layers = sum(each.weight.numel() for each in skeleton.modules() if isinstance(each, torch.nn.Linear))
        # Half a byte, and a scale for every 64 numbers in little over a byte.
        weights -= round((precision - 0.52) * (in_layers - trained))
    # Stored once by calltune or by TRL, the reference needs no second model.
    is_stored = stage == "dpo" and (can_store(arguments) or arguments.precompute_ref_log_probs)
    is_second = (stage == "dpo" and not is_stored) or (stage == "grpo" and arguments.beta != 0)
    has_reference = is_second and not has_adapters
    return training_memory(
        shape,
        weight_bytes=weights,
        reference_bytes=precision * everything if has_reference else 0,
        tokens=tokens,
        autocast=arguments.bf16,
        checkpointing=checkpointing,
        # Gradients are float32 when they are given to the masters, at the latest.
        trained_bytes=4 if has_adapters or settings.has_masters else precision,
        # A master and two moments.
        optimizer_bytes=12 if settings.has_masters else None,
    )


def _free_for_this_process() -> int:
    """Free bytes; on a CPU all processes of a machine share them."""
    sharers = 1 if torch.cuda.is_available() else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return free_bytes() // sharers


def _may_be_bounded(settings: StageSettings, skeleton: Any) -> bool:
    if settings.stage == "grpo":
        return False
    try:
        check_passes(_FEWEST_TOKENS, settings.arguments, skeleton.config)
    except ConfigError:
        return False
    return True


def _bound_by(one_token: Memory, free: int) -> int:
    """How many tokens there is room for beside the weights and what belongs to them, within the bounds of a bound."""
    room = _SHARE_TO_USE * free - (one_token.total - one_token.activations)
    tokens = int(room / one_token.activations) // _FEWEST_TOKENS * _FEWEST_TOKENS
    return max(_FEWEST_TOKENS, min(_MOST_TOKENS, tokens))
