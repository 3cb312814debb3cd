"""Rows with common beginnings as a trie of tokens, and the trie as one packed row: each common token stands once.

The trie is laid out depth first: each row of the sorted rows adds what it does not share with the row before it, and
its position ids start again at the fork. What a token sees is its path from the root.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import torch

Ranges = tuple[tuple[int, int], ...]
"""Places in the packed row, as (start, stop); joined together they are a path from the root."""

Way = Literal["blocks", "varlen", "flex"]
"""How the attention of a packed row is computed: `calltune.models.prefix`."""


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens `start` to `stop` of the packed row, those that one row adds; `path` is what stands above the first."""

    start: int
    stop: int
    path: Ranges

    @property
    def depth(self) -> int:
        """How many tokens stand above the first one."""
        return sum(stop - start for start, stop in self.path)


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows as one packed row.

    `ids` and `positions` are integer tensors [1, tokens]; `paths[i]` says where in it row i of the packed rows is.
    `runs` are all its tokens in order. `made` keeps what a way to attend has made of them, for the next layer.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    paths: list[Ranges]
    runs: list[Run]
    way: Way = "blocks"
    made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def keep(self, name: Any, make: Callable[[], Any]) -> Any:
        """Return what was made under a name, or make it now."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


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


def pack(rows: Sequence[list[int]], device: torch.device | str = "cpu", way: Way = "blocks") -> Packed:
    """Lay rows of token ids out as one packed row; every row needs a token."""
    ids: list[int] = []
    positions: list[int] = []
    runs: list[Run] = []
    paths: list[Ranges] = [()] * len(rows)
    path: Ranges = ()
    before: list[int] = []
    for number in sorted(range(len(rows)), key=rows.__getitem__):
        row, depth = rows[number], num_shared(before, rows[number])
        path = _cut(path, depth)
        if depth < len(row):
            runs.append(Run(len(ids), len(ids) + len(row) - depth, path))
            path = joined(path, (runs[-1].start, runs[-1].stop))
            ids += row[depth:]
            positions += range(depth, len(row))
        paths[number] = path
        before = row
    ids_there, positions_there = (torch.tensor([each], device=device) for each in (ids, positions))
    return Packed(ids_there, positions_there, paths, runs, way)


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


def joined(path: Ranges, last: tuple[int, int]) -> Ranges:
    """Return a path with more places at its end."""
    if path and path[-1][1] == last[0]:
        return (*path[:-1], (path[-1][0], last[1]))
    return (*path, last)
