"""Shared prefixes: rows with common beginnings in one pass of a causal language model, each common token once.

A token's activations depend on the tokens before it alone, so rows are put into a trie of tokens, which is laid out
depth first as one packed row: each row of the sorted rows adds what it does not share with the row before it. Position
ids start again at each fork, and attention, registered with transformers' `AttentionInterface`, lets a token see its
path from the root. That is exact for causal softmax attention, full or sliding, and takes nothing but SDPA.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

ATTENTION = "calltune_shared_prefixes"

Ranges = tuple[tuple[int, int], ...]
"""Places in the packed row, as (start, stop); joined together they are a path from the root."""

_PIECE_TOKENS = 256  # a longer run after a shared prefix is cut: scores right of the diagonal are computed for nothing
_BLOCK_TOKENS = 512
_BLOCK_WASTE = 1.3  # scores of a block, relative to those of its pieces one by one
_BLOCK_SLACK = 16_384  # scores that cost less than one more call


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive tokens of the packed row whose attention is computed in one call.

    `keys` are the places they look at: `depth` tokens of the path above the first of them, then they themselves.
    `visible` is a mask [tokens, keys], True where a token sees a key; None when all is one causal row from the root.
    """

    size: int
    depth: int
    keys: Ranges
    visible: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows as one packed row.

    `ids` and `positions` are integer tensors [1, tokens]; `paths[i]` says where in it row i of the packed rows is.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    paths: list[Ranges]
    blocks: list[Block]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tokens `start` to `stop` of the packed row, one after the other in a row, `depth` tokens of `path` above them."""

    start: int
    stop: int
    depth: int
    path: Ranges

    @property
    def num_scores(self) -> int:
        return (self.stop - self.start) * (self.depth + self.stop - self.start)


def num_shared(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two rows have in common at their beginning."""
    shorter = min(len(left), len(right))
    if left[:shorter] == right[:shorter]:
        return shorter
    return next(place for place in range(shorter) if left[place] != right[place])


def batches(rows: Sequence[list[int]], tokens_per_batch: int) -> list[list[int]]:
    """Row numbers in batches that pack into at most `tokens_per_batch` tokens; a longer row is a batch of its own.

    The rows are sorted by their tokens and cut where the fewest shared tokens, in sum, are computed again.
    """
    order = sorted(range(len(rows)), key=rows.__getitem__)
    shared = [0, *(num_shared(rows[left], rows[right]) for left, right in pairwise(order))]
    # By number of rows from the left: the fewest tokens computed again, and where the last batch then begins.
    best = [(0, 0)]
    for stop in range(1, len(order) + 1):
        added, choices = 0, []
        for start in reversed(range(stop)):
            length = len(rows[order[start]])
            if choices and added + length > tokens_per_batch:
                break
            choices.append((best[start][0] + shared[start], start))
            added += length - shared[start]
        best.append(min(choices))
    cuts = [len(order)]
    while cuts[-1] > 0:
        cuts.append(best[cuts[-1]][1])
    return [order[start:stop] for start, stop in pairwise(reversed(cuts))]


def pack(rows: Sequence[list[int]], device: torch.device | str = "cpu") -> Packed:
    """Lay rows of token ids out as one packed row; every row needs a token."""
    ids: list[int] = []
    positions: list[int] = []
    pieces: list[_Piece] = []
    paths: list[Ranges] = [()] * len(rows)
    path: Ranges = ()
    before: list[int] = []
    for number in sorted(range(len(rows)), key=rows.__getitem__):
        row, depth = rows[number], num_shared(before, rows[number])
        path = _cut(path, depth)
        # Without a path above, the whole run is one causal row, which SDPA computes without a mask.
        step = _PIECE_TOKENS if depth else len(row)
        for first in range(depth, len(row), step):
            tokens = row[first : first + step]
            pieces.append(_Piece(len(ids), len(ids) + len(tokens), first, path))
            path = _joined(path, (len(ids), len(ids) + len(tokens)))
            ids += tokens
            positions += range(first, first + len(tokens))
        paths[number] = path
        before = row
    blocks = [_block(group, device) for group in _groups(pieces)]
    return Packed(torch.tensor([ids], device=device), torch.tensor([positions], device=device), paths, blocks)


def places(path: Ranges, start: int, stop: int) -> list[int]:
    """Where in the packed row the tokens `start` to `stop` of a row with this path are."""
    return [place for first, last in path for place in range(first, last)][start:stop]


def _cut(path: Ranges, depth: int) -> Ranges:
    kept: list[tuple[int, int]] = []
    for start, stop in path:
        if depth <= 0:
            break
        kept.append((start, min(stop, start + depth)))
        depth -= stop - start
    return tuple(kept)


def _joined(path: Ranges, last: tuple[int, int]) -> Ranges:
    if path and path[-1][1] == last[0]:
        return (*path[:-1], (path[-1][0], last[1]))
    return (*path, last)


def _groups(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Neighbouring pieces that are computed together at little waste: above all, the answers to one question."""
    group: list[_Piece] = []
    num_scores = 0
    for piece in pieces:
        if group:
            together = _Piece(group[0].start, piece.stop, group[0].depth, ())
            num_scores += piece.num_scores
            fits = together.stop - together.start <= _BLOCK_TOKENS
            if not fits or together.num_scores > _BLOCK_WASTE * num_scores + _BLOCK_SLACK:
                yield group
                group = []
        if not group:
            num_scores = piece.num_scores
        group.append(piece)
    if group:
        yield group


def _block(group: Sequence[_Piece], device: torch.device | str) -> Block:
    first, stop = group[0], group[-1].stop
    size = stop - first.start
    keys = _joined(first.path, (first.start, stop))
    if len(group) == 1 and first.depth == 0:
        return Block(size, 0, keys, None)
    visible = torch.zeros(size, first.depth + size, dtype=torch.bool)
    for piece in group:
        own = slice(piece.start - first.start, piece.stop - first.start)
        depth = 0
        for above, below in piece.path:
            # What is above the block is above its first token too, at the same depth; the rest is in the block.
            outside = max(0, min(below, first.start) - above)
            visible[own, depth : depth + outside] = True
            column = first.depth + above + outside - first.start
            visible[own, column : column + below - above - outside] = True
            depth += below - above
        size_of_own = piece.stop - piece.start
        column = first.depth + own.start
        visible[own, column : column + size_of_own] = torch.ones(size_of_own, size_of_own).tril().bool()
    return Block(size, first.depth, keys, visible.to(device))


def _attention(
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


AttentionInterface.register(ATTENTION, _attention)
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
    return model.base_model(
        input_ids=packed.ids, position_ids=packed.positions, use_cache=False, shared_prefixes=packed, **kwargs
    )


def can_share(model: PreTrainedModel) -> str | None:
    """None when a model's packed rows give what its plain rows give, else why not.

    Its configuration is read, then three short rows are computed both ways, in evaluation mode.
    """
    config = model.config.get_text_config(decoder=True)
    layer_types = getattr(config, "layer_types", None) or []
    if getattr(model, "_is_stateful", False):
        return "it has recurrent or convolution layers"
    if others := set(layer_types) - {"full_attention", "sliding_attention"}:
        return f"it has layers of another kind: {', '.join(sorted(others))}"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "its attention scores are soft-capped, which SDPA cannot do"
    if not (model._supports_attention_backend and model._supports_sdpa and model._can_set_attn_implementation()):
        return "its attention cannot be replaced"
    ropes = getattr(config, "rope_parameters", None) or {}
    kinds = {rope.get("rope_type") for rope in (ropes, *ropes.values()) if isinstance(rope, dict)}
    if kinds & {"dynamic", "longrope"}:
        return "its rotary embedding depends on the longest row of a batch"
    sliding = getattr(config, "sliding_window", None)
    windows = [sliding if kind == "sliding_attention" else None for kind in layer_types]
    return _difference(model, windows or [sliding] * config.num_hidden_layers, config.vocab_size)


def _difference(model: PreTrainedModel, windows: list[int | None], vocab_size: int) -> str | None:
    rows = [[token % vocab_size for token in row] for row in (range(3, 15), [*range(3, 8), *range(40, 50)], range(3, 9))]
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
            plain = model.base_model(input_ids=torch.tensor([row], device=model.device), use_cache=False)
            plain = plain.last_hidden_state[0].float()
            error = (shared[places(path, 0, len(row))].float() - plain).abs().max() / plain.abs().max()
            if not error < torch.finfo(shared.dtype).eps ** 0.5:
                return f"packed rows give it other states than plain rows, by {float(error):.1g}"
    return None
