"""How much memory a training step takes on one device, and whether activations can be kept for the backward pass.

The estimate counts the weights, one gradient and AdamW's two moments in float32 for each weight trained, the reference
model of DPO where TRL keeps one, and what backward needs of every layer of a decoder with gated MLPs and SDPA or
FlashAttention. It does not count what a launcher shards away or adds, nor kernels' work space; a margin is left for it.
"""

from dataclasses import dataclass
from typing import Any

import torch

from calltune.models.device import free_bytes
from calltune.runtime.terminal import say
from calltune.training.reference import can_store
from calltune.training.settings import StageSettings
from calltune.training.tuning import count_parameters

_SHARE_TO_USE = 0.85


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
) -> Memory:
    """Estimate what a step of AdamW takes.

    Args:
        weight_bytes: the weights as they are loaded, adapters included.
        reference_bytes: a second copy for DPO; 0 when there is none, as with adapters.
        tokens: those of one forward pass, padding included: rows times length, twice that for pairs.
        autocast: whether matrices are multiplied in bf16, from weights that are kept in float32.
        checkpointing: whether a layer keeps its input alone and computes the rest twice.
        trained_bytes: bytes of one trained number, and so of its gradient and of each of its two moments.
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
        optimizer=2 * trained_bytes * shape.num_trained,
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
    """Read the sizes of a model, which may be one without weights."""
    text = model.config.get_text_config()
    trained, everything = count_parameters(model)
    heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        mlp=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        queries=heads * head_size,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * head_size,
        num_parameters=everything,
        num_trained=trained,
    )


def choose_checkpointing(settings: StageSettings, skeleton: Any, max_length: int) -> tuple[Memory, bool]:
    """Estimate a step's memory, choose whether activations are computed twice, and tell the user the numbers.

    They are computed twice where keeping them would not fit, unless the run file says.

    Args:
        skeleton: the model as it will be trained, without weights.
        max_length: in tokens, of the longest row, or of a packed one.
    """
    stage, shape = settings.stage, shape_of(skeleton)
    arguments: Any = settings.arguments
    trained, everything, has_adapters = shape.num_trained, shape.num_parameters, settings.tuning.has_adapters
    base = everything - (trained if has_adapters else 0)
    plain = torch.bfloat16 if has_adapters and arguments.bf16 else torch.float32
    precision = settings.model_keys.get("dtype", plain).itemsize
    weights = precision * base + (4 * trained if has_adapters else 0)
    if settings.tuning.method == "qlora":
        in_layers = sum(each.weight.numel() for each in skeleton.modules() if isinstance(each, torch.nn.Linear))
        # Half a byte, and a scale for every 64 numbers in little over a byte.
        weights -= round((precision - 0.52) * (in_layers - trained))
    # Stored once by calltune or by TRL, the reference needs no second model.
    is_stored = stage == "dpo" and (can_store(arguments) or arguments.precompute_ref_log_probs)
    has_reference = stage == "dpo" and not has_adapters and not is_stored
    num_answers = 2 if stage == "dpo" else 1
    rows, bound = arguments.per_device_train_batch_size * num_answers, settings.tokens_per_batch
    tokens = min(rows * max_length, max(bound or rows * max_length, num_answers * max_length))
    kept, twice = (
        training_memory(
            shape,
            weight_bytes=weights,
            reference_bytes=precision * everything if has_reference else 0,
            tokens=tokens,
            autocast=arguments.bf16,
            checkpointing=checkpointing,
            trained_bytes=4 if has_adapters else precision,
        )
        for checkpointing in (False, True)
    )
    free, given = free_bytes(), settings.checkpointing
    checkpointing = given if given is not None else not kept.fits(free)
    estimate = twice if checkpointing else kept
    why = f" ({gigabytes(kept.total)} GB without)" if checkpointing else ""
    if given is not None:
        why = " (as the run file says)"
    what = f"{rows:,} rows of {max_length:,} tokens"
    if tokens < rows * max_length:
        what = f"passes of {tokens:,} tokens"
    say(
        f"{stage}: memory for {what}, estimated: {estimate.text()} = "
        f"{gigabytes(estimate.total)} GB, {gigabytes(free)} GB free; "
        f"gradient checkpointing {'on' if checkpointing else 'off'}{why}"
    )
    if not estimate.fits(free):
        smaller = "launch.tokens_per_batch" if bound else "per_device_train_batch_size"
        say(f"{stage}: that may not fit; lower {smaller} or max_length in [{stage}], or use adapters")
    return estimate, checkpointing
