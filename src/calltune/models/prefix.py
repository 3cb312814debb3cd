"""Shared prefixes: rows with common beginnings in one pass of a causal language model, each common token once.

A token's activations depend on the tokens before it alone, so the rows go through the model as one packed row
(`calltune.models.trie`), in which an attention function registered with transformers' `AttentionInterface` lets each
token see its path. That is exact for causal softmax attention, full or sliding, and takes nothing but SDPA.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from calltune.models.trie import Block, Packed, Ranges, pack, places

ATTENTION = "calltune_shared_prefixes"


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    shared_prefixes: Packed | None = None,
    windows_seen: list[int | None] | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of the packed row, as `AttentionInterface` asks: heads [1, heads, tokens, size] to [1, tokens, ...].

    Raises:
        ValueError: the model asks for something else than causal softmax attention over the packed row.
    """
    strange = {name for name in ("softcap", "s_aux", "position_bias", "cache") if others.get(name) is not None}
    if shared_prefixes is None or attention_mask is not None or is_causal is False or strange:
        raise ValueError(f"{type(module).__name__} asks for attention of its own {' '.join(sorted(strange))}".rstrip())
    if windows_seen is not None:
        windows_seen.append(sliding_window)
    outputs, start = [], 0
    blocks = shared_prefixes.blocks
    for block, part in zip(blocks, query.split([block.size for block in blocks], dim=2), strict=True):
        keys, values = _gathered(key, block.keys), _gathered(value, block.keys)
        visible = _within(block, shared_prefixes.positions[0, start : start + block.size], sliding_window)
        start += block.size
        groups = query.shape[1] // key.shape[1]
        if visible is None:
            output = scaled_dot_product_attention(
                part, keys, values, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=groups > 1
            )
        else:
            # Query heads of one key head lie side by side as more queries: no kernel takes a mask and fewer key heads.
            output = scaled_dot_product_attention(
                part.reshape(1, key.shape[1], groups * block.size, -1),
                keys,
                values,
                attn_mask=visible.repeat(groups, 1),
                scale=scaling,
                dropout_p=dropout,
            ).reshape(1, query.shape[1], block.size, -1)
        outputs.append(output.transpose(1, 2))
    return torch.cat(outputs, dim=1), None


def _gathered(heads: torch.Tensor, ranges: Ranges) -> torch.Tensor:
    parts = [heads[:, :, start:stop] for start, stop in ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _within(block: Block, positions: torch.Tensor, window: int | None) -> torch.Tensor | None:
    """The block's mask, less what a sliding window no longer sees; `positions` are those of the block's tokens."""
    if window is None or window >= block.depth + block.size:
        return block.visible
    visible = block.visible
    if visible is None:
        visible = torch.ones(block.size, block.size, dtype=torch.bool, device=positions.device).tril()
    above = torch.arange(block.depth, device=positions.device)
    return visible & (positions[:, None] - torch.cat([above, positions])[None] < window)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """What a packed row's tokens see is in its blocks."""


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, _no_mask)


@contextmanager
def shared_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let a model attend as packed rows need it; a backward pass with checkpointing belongs inside too."""
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before or "sdpa")


def backbone_outputs(model: PreTrainedModel, packed: Packed, **kwargs: Any) -> Any:
    """The backbone's outputs for a packed row, within `shared_attention`; `last_hidden_state` is [1, tokens, width]."""
    backbone: Any = model.base_model
    return backbone(
        input_ids=packed.ids, position_ids=packed.positions, use_cache=False, shared_prefixes=packed, **kwargs
    )


def can_share(model: PreTrainedModel, compute: bool = True) -> str | None:
    """None when a model's packed rows give what its plain rows give, else why not.

    Its configuration is read, then, with `compute`, three short rows are computed both ways, in evaluation mode.
    """
    config = model.config.get_text_config(decoder=True)
    layer_types = getattr(config, "layer_types", None) or []
    if getattr(model, "_is_stateful", False):
        return "it has recurrent or convolution layers"
    if others := set(layer_types) - {"full_attention", "sliding_attention"}:
        return f"it has layers of another kind: {', '.join(sorted(others))}"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "its attention scores are soft-capped, which SDPA cannot do"
    if model.base_model is model:
        return "its backbone cannot be called without its head"
    if not (model._supports_attention_backend and model._supports_sdpa and model._can_set_attn_implementation()):
        return "its attention cannot be replaced"
    ropes = getattr(config, "rope_parameters", None) or {}
    kinds = {rope.get("rope_type") for rope in (ropes, *ropes.values()) if isinstance(rope, dict)}
    if kinds & {"dynamic", "longrope"}:
        return "its rotary embedding depends on the longest row of a batch"
    if not compute:
        return None
    sliding = getattr(config, "sliding_window", None)
    windows = [sliding if kind == "sliding_attention" else None for kind in layer_types]
    return _difference(model, windows or [sliding] * config.num_hidden_layers, config.vocab_size)


def _difference(model: PreTrainedModel, windows: list[int | None], vocab_size: int) -> str | None:
    forks = (range(3, 15), [*range(3, 8), *range(40, 50)], range(3, 9))
    rows = [[token % vocab_size for token in row] for row in forks]
    backbone: Any = model.base_model
    packed = pack(rows, model.device)
    windows_seen: list[int | None] = []
    with torch.no_grad():
        try:
            with shared_attention(model):
                shared = backbone_outputs(model, packed, windows_seen=windows_seen).last_hidden_state[0]
        except (RuntimeError, TypeError, ValueError) as error:
            return f"its attention is not known: {str(error).splitlines()[0]}"
        if windows_seen != windows:
            return "its layers do not say how far they see"
        for row, path in zip(rows, packed.paths, strict=True):
            plain = backbone(input_ids=torch.tensor([row], device=model.device), use_cache=False)
            plain = plain.last_hidden_state[0].float()
            error = (shared[places(path, 0, len(row))].float() - plain).abs().max() / plain.abs().max()
            if not torch.isfinite(error):
                return "its states are not finite, so packed and plain rows cannot be compared; look at its weights"
            if not error < torch.finfo(shared.dtype).eps ** 0.5:
                return f"packed rows give it other states than plain rows, by {float(error):.1g}"
    return None
