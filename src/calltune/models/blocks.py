"""What the tokens of a packed row see, in blocks of neighbours that look at the same keys, with a mask for each block.

It needs nothing but SDPA, and so it is what a CPU does. On a GPU its many small calls and its masks take long.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from calltune.models.trie import Packed, Ranges, joined

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


def blocks_of(packed: Packed) -> list[Block]:
    """Return the blocks of a packed row, which are made once."""
    return packed.keep("blocks", lambda: _blocks(packed))


def _blocks(packed: Packed) -> list[Block]:
    device = packed.ids.device
    pieces: list[_Piece] = []
    for run in packed.runs:
        size, depth = run.stop - run.start, run.depth
        # Without a path above, the whole run is one causal row, which SDPA computes without a mask.
        for first in range(0, size, _PIECE_TOKENS if depth else size):
            start, stop = run.start + first, min(run.start + first + _PIECE_TOKENS, run.stop) if depth else run.stop
            path = joined(run.path, (run.start, start)) if first else run.path
            pieces.append(_Piece(start, stop, depth + first, path))
    slack = _BLOCK_SLACK if device.type == "cpu" else _BLOCK_SLACK_ON_GPU
    return [_block(group, packed) for group in _groups(pieces, slack)]


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


def _block(group: Sequence[_Piece], packed: Packed) -> Block:
    first, stop = group[0], group[-1].stop
    size = stop - first.start
    keys = joined(first.path, (first.start, stop))
    if len(group) == 1 and first.depth == 0:
        return Block(size, 0, keys, None)
    # Made where it is used, so that no mask is copied there.
    device = packed.ids.device
    queries = torch.arange(first.start, stop, device=device)[:, None]
    places = torch.cat([torch.arange(*span, device=device) for span in keys])
    return Block(size, first.depth, keys, (places <= queries) & (queries < packed.ends[places]))
