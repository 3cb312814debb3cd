"""Attention of a packed row in one call: no masks, no blocks.

A token q of the packed row sees a token k exactly when k <= q < ends[k] (`calltune.models.trie`), and within a window
when their positions differ by less. Two kernels compute that, from a layout that needs nothing more of the host.

`varlen` is FlashAttention over sequences of any lengths: the tokens of a run are the queries of one sequence, and its
whole path the keys. Where there are fewer queries than keys, causal means counted from the end, which is the trie. Keys
and values of all paths are gathered before the call. `flex` is FlexAttention, which is compiled: it takes the rule as a
function, and from `ends` which of its blocks of 128 tokens are seen whole, in part, or not at all.
"""

import functools
import inspect
import warnings
from typing import Any

import torch
from torch.nn.attention import flex_attention as flex
from torch.nn.attention import varlen

from calltune.models.trie import Packed

_BLOCK = 128
_LENGTHS = 512  # of which flex's length is a multiple, so that few of them are ever compiled for
_ROUND = 256
LARGEST_HEAD = 256  # of FlashAttention's kernels


def has_varlen() -> bool:
    """Whether this torch has the kernel, and it can be asked for causal attention within a window."""
    return "window_size" in _varlen_options()


def _varlen_options() -> set[str]:
    return _parameters(varlen.varlen_attn)


@functools.cache
def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def varlen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: Packed,
    scaling: float | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Attend by one call of a kernel for sequences of any lengths: heads [1, heads, tokens, size] in and out."""
    options: dict[str, Any] = {"scale": scaling, "window_size": (-1 if window is None else window - 1, 0)}
    groups = query.shape[1] // key.shape[1]
    if "enable_gqa" in _varlen_options():
        options["enable_gqa"] = groups > 1
    else:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    keys, values = _Gathered.apply(key, value, packed.keys)
    outputs: Any = varlen.varlen_attn(
        _of_tokens(query).contiguous(),
        keys,
        values,
        packed.query_starts,
        packed.key_starts,
        _rounded(packed.longest_query),
        _rounded(packed.longest_key),
        **options,
    )
    return outputs.unsqueeze(0).transpose(1, 2)


def _rounded(length: int) -> int:
    """A bound of a grid, which need not be exact; rounded, few different ones come."""
    return -(-length // _ROUND) * _ROUND


def _of_tokens(heads: torch.Tensor) -> torch.Tensor:
    """Heads [1, heads, tokens, size] as [tokens, heads, size]."""
    return heads.squeeze(0).transpose(0, 1)


class _Gathered(torch.autograd.Function):
    """Keys and values [tokens, heads, size] by their places, of heads [1, heads, tokens, size].

    A key that many rows share gets the sum of their gradients, added in float32.
    """

    @staticmethod
    def forward(ctx: Any, key: torch.Tensor, value: torch.Tensor, where: torch.Tensor) -> Any:  # type: ignore[override]
        ctx.save_for_backward(where)
        ctx.length = key.shape[2]
        return _of_tokens(key).index_select(0, where), _of_tokens(value).index_select(0, where)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:  # type: ignore[override]
        (where,) = ctx.saved_tensors
        return (*(_summed(each, where, ctx.length) for each in gradients), None)


def _summed(gradient: torch.Tensor, where: torch.Tensor, length: int) -> torch.Tensor:
    _, num_heads, size = gradient.shape
    wide = gradient.float() if gradient.element_size() < 4 else gradient
    total = wide.new_zeros(length, num_heads, size).index_add_(0, where, wide)
    return total.to(gradient.dtype).transpose(0, 1).unsqueeze(0)


def flex_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: Packed,
    scaling: float | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Attend by one compiled call of FlexAttention: heads [1, heads, tokens, size] in and out."""
    length = query.shape[2]
    padding = -length % _LENGTHS
    groups = query.shape[1] // key.shape[1]
    if groups & (groups - 1):
        # Its kernels take a power of two of query heads for each key head.
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    query, key, value = (torch.nn.functional.pad(each, (0, 0, 0, padding)) for each in (query, key, value))
    mask = packed.keep(("mask", window), lambda: _block_mask(packed, padding, window))
    run = _compiled() if query.is_cuda else flex.flex_attention
    with warnings.catch_warnings():
        # torch's compiler looks at more of its inputs than there is; the user can do nothing about it.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor", category=UserWarning)
        outputs: Any = run(query, key, value, block_mask=mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1])
    return outputs[:, :, :length]


@functools.cache
def _compiled() -> Any:
    return torch.compile(flex.flex_attention, dynamic=True)


def _block_mask(packed: Packed, padding: int, window: int | None) -> flex.BlockMask:
    length = packed.ids.shape[1] + padding
    device = packed.ids.device
    # Padding sees itself alone, for a token that sees nothing has no softmax.
    alone = torch.arange(length - padding, length, dtype=torch.int32, device=device)
    ends = torch.cat([packed.ends, alone + 1])
    positions = torch.nn.functional.pad(packed.positions[0].int(), (0, padding))
    last_end, first_end = (each(ends.view(-1, _BLOCK), dim=1) for each in (torch.amax, torch.amin))
    deepest, highest = (each(positions.view(-1, _BLOCK), dim=1) for each in (torch.amax, torch.amin))
    numbers = torch.arange(length // _BLOCK, dtype=torch.int32, device=device)
    queries, keys = numbers[:, None], numbers[None]
    is_before = keys < queries
    seen = is_before & (last_end[None] > queries * _BLOCK)
    whole = is_before & (first_end[None] >= (queries + 1) * _BLOCK)
    if window is not None:
        seen &= highest[:, None] - deepest[None] < window
        whole &= deepest[:, None] - highest[None] < window
    part = (seen & ~whole) | (keys == queries)

    def sees(batch: Any, head: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        is_above = (k <= q) & (q < ends[k])
        return is_above if window is None else is_above & (positions[q] - positions[k] < window)

    def listed(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        order = blocks.int().argsort(dim=1, descending=True, stable=True)
        return blocks.sum(1, dtype=torch.int32)[None, None], order.int()[None, None]

    return flex.BlockMask.from_kv_blocks(
        *listed(part), *listed(whole & ~part), BLOCK_SIZE=_BLOCK, mask_mod=sees, seq_lengths=(length, length)
    )
