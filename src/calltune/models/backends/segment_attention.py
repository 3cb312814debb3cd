"""Attention of rows over segments of keys and values, each of which is read once for all rows that see it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from calltune.models.backends.segments import Heads, Pass, Slots

ATTENTION = "calltune_segments"

_FEW_TOKENS = 64  # of a row, for which computing scores one by one takes less than copying keys to the row
_SCORES = 2**24  # numbers that one call makes on the way: 64 MiB in float32


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    segments: Pass | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a pass, as `AttentionInterface` asks: heads [rows, heads, tokens, size] to [rows, tokens, ...].

    Raises:
        ValueError: the model asks for something else than causal softmax attention.
    """
    strange = {name for name in ("softcap", "s_aux", "position_bias", "cache") if others.get(name) is not None}
    if segments is None or attention_mask is not None or is_causal is False or dropout or strange:
        raise ValueError(f"{type(module).__name__} asks for attention of its own {' '.join(sorted(strange))}".rstrip())
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    parts = [segment.heads(module) for segment in segments.past]
    parts.append(segments.own.add(module, key, value))
    masks = segments.visible(sliding_window)
    num_scores = query.shape[:3].numel() * sum(part[0].shape[2] for part in parts)
    if query.shape[2] == 1 or (query.shape[2] <= _FEW_TOKENS and num_scores <= _SCORES):
        slots = [segments.slots if segment is segments.past[-1] else None for segment in segments.past]
        return _of_few_tokens(query * scale, parts, masks, [*slots, None]).transpose(1, 2), None
    return _of_many_tokens(query, parts, masks, scale).transpose(1, 2), None


def _of_few_tokens(
    query: torch.Tensor, parts: list[Heads], masks: list[torch.Tensor | None], slots: list[Slots | None]
) -> torch.Tensor:
    """Attend to all parts, none of which is copied, [rows, heads, tokens, size]; the query is scaled."""
    num_rows, num_heads, length, size = query.shape
    num_key_heads = parts[0][0].shape[1]
    groups = num_heads // num_key_heads

    def for_rows_of(part: torch.Tensor, mine: torch.Tensor, places: Slots | None) -> torch.Tensor:
        """Queries or weights [rows, key heads, queries of a key head, ...] by rows of the part that they see."""
        count = len(part)
        if places:
            mine = places.spread(mine, count)
        parted = mine.reshape(count, len(mine) // count, num_key_heads, groups * length, -1).transpose(1, 2)
        return parted.reshape(count, num_key_heads, len(mine) // count * groups * length, -1)

    def by_row(part: torch.Tensor, mine: torch.Tensor, places: Slots | None) -> torch.Tensor:
        count = len(part)
        each = places.width if places else num_rows // count
        parted = mine.view(count, num_key_heads, each, groups * length, -1).transpose(1, 2)
        found = parted.reshape(count * each, num_key_heads, groups * length, -1)
        return found.index_select(0, places.places) if places else found

    asked = query.reshape(num_rows, num_key_heads, groups * length, size)
    scores = []
    for (keys, _), mask, places in zip(parts, masks, slots, strict=True):
        # The rows that see one row of keys are the rows of one matrix.
        found = by_row(keys, for_rows_of(keys, asked, places) @ keys.mT, places)
        if mask is None and len(parts) == 1 and length > 1:
            mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()[None]
        if mask is not None:
            found = found.masked_fill(~mask.repeat(1, groups, 1)[:, None], float("-inf"))
        scores.append(found)
    weights = torch.cat(scores, dim=-1).softmax(-1, dtype=torch.float32).to(query.dtype)
    shares = weights.split([part[0].shape[2] for part in parts], dim=-1)
    outputs = [
        by_row(values, for_rows_of(values, share, places) @ values, places)
        for (_, values), share, places in zip(parts, shares, slots, strict=True)
    ]
    return torch.stack(outputs).sum(0).reshape(num_rows, num_heads, length, -1)


def _of_many_tokens(
    query: torch.Tensor, parts: list[Heads], masks: list[torch.Tensor | None], scaling: float
) -> torch.Tensor:
    """Attend by SDPA to the parts, joined for some rows at a time, [rows, heads, tokens, size]."""
    num_rows, num_heads, length, size = query.shape
    num_key_heads = parts[0][0].shape[1]
    groups = num_heads // num_key_heads
    if len(parts) == 1 and masks[0] is None:
        keys, values = parts[0]
        return scaled_dot_product_attention(query, keys, values, is_causal=True, scale=scaling, enable_gqa=groups > 1)
    outputs = []
    num_keys = sum(keys.shape[2] for keys, _ in parts)
    for rows in _slices(num_rows, max(1, _SCORES // (num_keys * max(groups * length, num_key_heads * size)))):
        keys, values = (torch.cat([_of_rows(part[each], rows, num_rows) for part in parts], dim=2) for each in (0, 1))
        count = rows.stop - rows.start
        seen = [
            torch.ones(count, length, part[0].shape[2], dtype=torch.bool, device=query.device)
            if mask is None
            else _of_rows(mask, rows, num_rows)
            for part, mask in zip(parts, masks, strict=True)
        ]
        # Query heads of one key head lie side by side as more queries: no kernel takes a mask and fewer key heads.
        outputs.append(
            scaled_dot_product_attention(
                query[rows].reshape(count, num_key_heads, groups * length, size),
                keys,
                values,
                attn_mask=torch.cat(seen, dim=-1).repeat(1, groups, 1)[:, None],
                scale=scaling,
            ).reshape(count, num_heads, length, -1)
        )
    return torch.cat(outputs)


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _of_rows(tensor: torch.Tensor, rows: slice, num_rows: int) -> torch.Tensor:
    """What those rows of a pass see of a tensor with fewer rows, each of which stands for several."""
    count = len(tensor)
    if count == 1:
        return tensor.expand(rows.stop - rows.start, *tensor.shape[1:])
    if count == num_rows:
        return tensor[rows]
    numbers = torch.arange(rows.start, rows.stop, device=tensor.device) // (num_rows // count)
    return tensor.index_select(0, numbers)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """What a token sees is in its pass."""


AttentionInterface.register(ATTENTION, segment_attention)
AttentionMaskInterface.register(ATTENTION, _no_mask)
