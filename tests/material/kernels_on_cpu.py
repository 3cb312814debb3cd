"""torch's two kernels of a GPU, in plain torch: what FlashAttention computes for sequences of any lengths, and
FlexAttention without its compiler, whose backward pass torch keeps off a CPU by a check alone."""

from typing import Any

import pytest
import torch


def varlen_attn(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Causal attention [tokens, heads, size], counted from the end of each sequence, as torch 2.13 documents it."""
    assert window_size[1] == 0, "to the right there is nothing to see"
    assert query.is_contiguous()
    groups = query.shape[1] // key.shape[1]
    assert groups == 1 or enable_gqa
    outputs = []
    starts = zip(cu_seq_q.tolist(), cu_seq_q.tolist()[1:], cu_seq_k.tolist(), cu_seq_k.tolist()[1:], strict=False)
    for first, stop, first_key, stop_key in starts:
        num_queries, num_keys = stop - first, stop_key - first_key
        assert num_queries <= max_q
        assert num_keys <= max_k
        before = torch.arange(num_queries)[:, None] + num_keys - num_queries - torch.arange(num_keys)
        seen = (before >= 0) if window_size[0] < 0 else (before >= 0) & (before <= window_size[0])
        part, keys, values = (
            each.transpose(0, 1)[None]
            for each in (query[first:stop], key[first_key:stop_key], value[first_key:stop_key])
        )
        keys, values = (each.repeat_interleave(groups, dim=1) for each in (keys, values))
        output = torch.nn.functional.scaled_dot_product_attention(part, keys, values, attn_mask=seen, scale=scale)
        outputs.append(output[0].transpose(0, 1))
    return torch.cat(outputs)


def varlen_attn_of_old(*inputs: Any, scale: float | None = None, window_size: tuple[int, int] = (-1, -1)) -> Any:
    """As it was before it took fewer heads of keys than of queries."""
    return varlen_attn(*inputs, scale=scale, window_size=window_size)


def varlen_attn_from_the_start(*inputs: Any, scale: float | None = None, window_size: Any = (-1, -1)) -> Any:
    """One that counts causal from the beginning of each sequence: a kernel that is wrong for a trie."""
    query, key, value, query_starts, key_starts, *longest = inputs
    turned = []
    for first, stop in zip(key_starts.tolist(), key_starts.tolist()[1:], strict=False):
        turned.append(torch.arange(first, stop).flip(0))
    order = torch.cat(turned)
    heads = (query, key[order], value[order])
    return varlen_attn(*heads, query_starts, key_starts, *longest, scale=scale, window_size=window_size)


def run_on_cpu(monkeypatch: pytest.MonkeyPatch, varlen: Any = varlen_attn) -> None:
    """Put them where torch has its own."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen)
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *heads: None)
