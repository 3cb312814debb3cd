"""Attention of a packed row in one call: no masks, no blocks.

A token k of the packed row is above all tokens of its subtree, which ends before `ends[k]`; so a token q sees k exactly
when k <= q < ends[k], and within a window when their positions differ by less. Two kernels compute that.

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
    return set(inspect.signature(varlen.varlen_attn).parameters)


def ends_of(packed: Packed) -> torch.Tensor:
    """Where the subtree of each token of the packed row ends, integers [tokens]."""
    return packed.keep("ends", lambda: _ends(packed))


def _ends(packed: Packed) -> torch.Tensor:
    length = packed.ids.shape[1]
    ends = torch.full((length,), length, dtype=torch.int32)
    opened: list[tuple[int, int, int]] = []  # (start, stop, depth of the first), of tokens whose subtree goes on
    for run in packed.runs:
        depth, here = run.depth, run.start
        while opened and opened[-1][2] >= depth:
            start, stop, _ = opened.pop()
            ends[start:stop] = here
        if opened:
            start, stop, first = opened.pop()
            kept = min(stop, start + depth - first)
            ends[kept:stop] = here
            opened.append((start, kept, first))
        opened.append((here, run.stop, depth))
    return ends.to(packed.ids.device)


def varlen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: Packed,
    scaling: float | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Attend by one call of a kernel for sequences of any lengths: heads [1, heads, tokens, size] in and out."""
    where, query_starts, key_starts, longest_query, longest_key = packed.keep("sequences", lambda: _sequences(packed))
    options: dict[str, Any] = {"scale": scaling, "window_size": (-1 if window is None else window - 1, 0)}
    groups = query.shape[1] // key.shape[1]
    if "enable_gqa" in _varlen_options():
        options["enable_gqa"] = groups > 1
    else:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    keys, values = (_Gathered.apply(each[0].transpose(0, 1), where) for each in (key, value))
    outputs: Any = varlen.varlen_attn(
        query[0].transpose(0, 1).contiguous(),
        keys,
        values,
        query_starts,
        key_starts,
        longest_query,
        longest_key,
        **options,
    )
    return outputs.transpose(0, 1)[None]


def _sequences(packed: Packed) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int, int]:
    """The places of all keys, sequence by sequence; where queries and keys begin; and the largest of both."""
    device = packed.ids.device
    spans = [span for run in packed.runs for span in (*run.path, (run.start, run.stop))]
    where = torch.cat([torch.arange(start, stop) for start, stop in spans])
    num_queries = torch.tensor([run.stop - run.start for run in packed.runs])
    num_keys = num_queries + torch.tensor([run.depth for run in packed.runs])
    starts = [torch.nn.functional.pad(each.cumsum(0), (1, 0)).int().to(device) for each in (num_queries, num_keys)]
    # They bound a grid and need not be exact; rounded, few different ones come.
    longest = [-(-int(each.max()) // _ROUND) * _ROUND for each in (num_queries, num_keys)]
    return where.to(device), starts[0], starts[1], longest[0], longest[1]


class _Gathered(torch.autograd.Function):
    """Rows of heads by their places. A key that many rows share gets the sum of their gradients, added in float32."""

    @staticmethod
    def forward(ctx: Any, heads: torch.Tensor, where: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(where)
        ctx.like = (heads.shape, heads.dtype)
        return heads.index_select(0, where)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        (where,) = ctx.saved_tensors
        shape, dtype = ctx.like
        total = torch.zeros(shape, dtype=torch.promote_types(dtype, torch.float32), device=gradient.device)
        return total.index_add_(0, where, gradient.to(total.dtype)).to(dtype), None


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
    ends = torch.cat([ends_of(packed), alone + 1])
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
