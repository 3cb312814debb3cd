"""Rows with common beginnings as a trie of tokens, and the trie as one packed row: each common token stands once.

The trie is laid out depth first: each row of the sorted rows adds what it does not share with the row before it, and
its position ids start again at the fork. What a token sees, its path from the root, is worked out here in blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

Ranges = tuple[tuple[int, int], ...]
"""Places in the packed row, as (start, stop); joined together they are a path from the root."""

_PIECE_TOKENS = 256  # a longer run after a shared prefix is cut: scores right of the diagonal are computed for nothing
_BLOCK_TOKENS = 512
_BLOCK_WASTE = 1.1  # scores of a block, relative to those of its pieces one by one
_BLOCK_SLACK = 4_096  # scores that cost less than one more call
_BLOCK_SLACK_ON_GPU = 2**18  # there a call costs microseconds whatever it does


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
        """Scores computed when it is a block of its own; SDPA leaves out most of the upper half of a causal row."""
        size = self.stop - self.start
        return size * min(size, size // 2 + 128) if self.depth == 0 else size * (self.depth + size)


def num_shared(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two rows have in common at their beginning."""
    shorter = min(len(left), len(right))
    if left[:shorter] == right[:shorter]:
        return shorter
    return next(place for place in range(shorter) if left[place] != right[place])


def batches(rows: Sequence[list[int]], tokens_per_batch: int, more: Sequence[int] = ()) -> list[list[int]]:
    """Row numbers in batches that pack into at most `tokens_per_batch` tokens; a longer row is a batch of its own.

    The rows are sorted by their tokens and cut where the fewest shared tokens, in sum, are computed again.

    Args:
        more: tokens that row i brings along, such as those of a second answer to the same prompt.
    """
    sizes = [len(row) + extra for row, extra in zip(rows, more or [0] * len(rows), strict=True)]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    shared = [0, *(num_shared(rows[left], rows[right]) for left, right in pairwise(order))]
    # By number of rows from the left: the fewest tokens computed again, and where the last batch then begins.
    best = [(0, 0)]
    for stop in range(1, len(order) + 1):
        added, choices = 0, []
        for start in reversed(range(stop)):
            length = sizes[order[start]]
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
    slack = _BLOCK_SLACK if torch.device(device).type == "cpu" else _BLOCK_SLACK_ON_GPU
    blocks = [_block(group, device) for group in _groups(pieces, slack)]
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


def _groups(pieces: Sequence[_Piece], slack: int) -> Iterator[list[_Piece]]:
    """Neighbouring pieces that are computed together at little waste: above all, the answers to one question."""
    group: list[_Piece] = []
    num_scores = 0
    for piece in pieces:
        if group:
            size = piece.stop - group[0].start
            num_scores += piece.num_scores
            together = size * (group[0].depth + size)
            if size > _BLOCK_TOKENS or together > _BLOCK_WASTE * num_scores + slack:
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
