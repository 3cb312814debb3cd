"""Shared prefixes: rows with common beginnings in one pass of a causal language model, each common token once.

A token's activations depend on the tokens before it alone, so the rows go through the model as one packed row
(`calltune.models.trie`), in which an attention function registered with transformers' `AttentionInterface` lets each
token see its path. That is exact for causal softmax attention, full or sliding. There are three ways to compute it:
`blocks` (`calltune.models.blocks`), which takes nothing but SDPA, and `varlen` and `flex`
(`calltune.models.tree_attention`), one call each.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from calltune.models.blocks import Block, blocks_of
from calltune.models.tree_attention import LARGEST_HEAD, flex_attention, varlen_attention
from calltune.models.trie import Packed, Ranges

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
    query, key, value = _of_one_kind(query, key, value)
    way = shared_prefixes.way if _is_taken(query, value) else "blocks"
    if way == "blocks":
        return _by_blocks(query, key, value, shared_prefixes, scaling, dropout, sliding_window), None
    if dropout:
        raise ValueError(f"attention by '{way}' knows no dropout")
    attend = varlen_attention if way == "varlen" else flex_attention
    return attend(query, key, value, shared_prefixes, scaling, sliding_window).transpose(1, 2), None


def _of_one_kind(*heads: torch.Tensor) -> Iterator[torch.Tensor]:
    """Heads in autocast's precision, in which SDPA would take them; a norm leaves queries and keys in float32."""
    kind = heads[0].device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else heads[0].dtype
    return (each.to(dtype) for each in heads)


def _is_taken(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether kernels of one call take heads of these sizes."""
    return query.shape[-1] == value.shape[-1] <= LARGEST_HEAD


def _by_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: Packed,
    scaling: float | None,
    dropout: float,
    window: int | None,
) -> torch.Tensor:
    outputs, start = [], 0
    blocks = blocks_of(packed)
    for block, part in zip(blocks, query.split([block.size for block in blocks], dim=2), strict=True):
        keys, values = _gathered(key, block.keys), _gathered(value, block.keys)
        visible = _within(block, packed.positions[0, start : start + block.size], window)
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
    return torch.cat(outputs, dim=1)


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
def shared_attention(model: PreTrainedModel, implementation: str = ATTENTION) -> Iterator[None]:
    """Let a model attend as packed rows need it; a backward pass with checkpointing belongs inside too.

    Args:
        implementation: instead of that, any other that transformers knows.
    """
    before = model.config._attn_implementation
    model.set_attn_implementation(implementation)
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
