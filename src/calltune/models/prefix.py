"""Shared prefixes: rows with common beginnings in one pass of a causal language model, each common token once.

A token's activations depend on the tokens before it alone, so the rows go through the model as one packed row
(`calltune.models.trie`), in which an attention function registered with transformers' `AttentionInterface` lets each
token see its path. That is exact for causal softmax attention, full or sliding; layers that hand states on instead are
in `calltune.models.state_layers`. There are three ways to compute it:
`blocks` (`calltune.models.blocks`), which takes nothing but SDPA, and `varlen` and `flex`
(`calltune.models.tree_attention`), one call each.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from calltune.models.blocks import Block, blocks_of
from calltune.models.device import autocast_dtype
from calltune.models.layer_kinds import ATTENTION as ATTENDING
from calltune.models.layer_kinds import layer_kinds
from calltune.models.state_layers import states_handed_on
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
    is_masked = attention_mask is not None and attention_mask.numel() > 1
    if shared_prefixes is None or is_masked or is_causal is False or strange:
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
    dtype = autocast_dtype(heads[0].device) or heads[0].dtype
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
    outputs = []
    blocks, groups = blocks_of(packed), query.shape[1] // key.shape[1]
    masks = packed.keep(("masks", window, groups), lambda: _masks(packed, window, groups))
    parts = query.split([block.size for block in blocks], dim=2)
    for block, mask, part in zip(blocks, masks, parts, strict=True):
        keys, values = _gathered(key, block.keys), _gathered(value, block.keys)
        if mask is None:
            output = scaled_dot_product_attention(
                part, keys, values, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=groups > 1
            )
        else:
            # Query heads of one key head lie side by side as more queries: no kernel takes a mask and fewer key heads.
            output = scaled_dot_product_attention(
                part.reshape(1, key.shape[1], groups * block.size, -1),
                keys,
                values,
                attn_mask=mask,
                scale=scaling,
                dropout_p=dropout,
            ).reshape(1, query.shape[1], block.size, -1)
        outputs.append(output.transpose(1, 2))
    return torch.cat(outputs, dim=1)


def _masks(packed: Packed, window: int | None, groups: int) -> list[torch.Tensor | None]:
    """The blocks' masks within a window, for each query head of a key head; they are made once for all such layers."""
    masks, start = [], 0
    for block in blocks_of(packed):
        visible = _within(block, packed.positions[0, start : start + block.size], window)
        masks.append(visible if visible is None or groups == 1 else visible.repeat(groups, 1))
        start += block.size
    return masks


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
    """Let a model attend, and hand states on, as packed rows need it.

    A backward pass with checkpointing belongs inside too.

    Args:
        implementation: instead of that, any other that transformers knows.
    """
    before = model.config._attn_implementation
    model.set_attn_implementation(implementation)
    try:
        with states_handed_on(model) if implementation == ATTENTION else nullcontext():
            yield
    finally:
        model.set_attn_implementation(before or "sdpa")


def windows_of(model: PreTrainedModel) -> list[int | None]:
    """How far each layer that attends sees, in tokens; None where it sees all."""
    sliding = getattr(model.config.get_text_config(decoder=True), "sliding_window", None)
    kinds = [kind for kind in layer_kinds(model) if kind in ATTENDING]
    return [sliding if kind == "sliding_attention" else None for kind in kinds]


def model_inputs(packed: Packed) -> dict[str, Any]:
    """What a backbone is given for a packed row: its attention finds the row in `shared_prefixes`.

    A mask that is prepared already, here an empty one, keeps transformers from looking for packed rows in the position
    ids, which on a GPU waits for all that was asked of it.
    """
    mask = packed.keep("no mask", lambda: torch.ones(1, 1, 1, 1, dtype=torch.bool, device=packed.ids.device))
    return {
        "input_ids": packed.ids,
        "position_ids": packed.positions,
        "attention_mask": mask,
        "shared_prefixes": packed,
    }


def backbone_outputs(model: PreTrainedModel, packed: Packed, **kwargs: Any) -> Any:
    """The backbone's outputs for a packed row, within `shared_attention`; `last_hidden_state` is [1, tokens, width]."""
    backbone: Any = model.base_model
    return backbone(**model_inputs(packed), use_cache=False, **kwargs)
