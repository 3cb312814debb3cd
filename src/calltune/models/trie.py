"""Rows with common beginnings as a trie of tokens, and the trie as one packed row: each common token stands once.

The trie is laid out depth first: each row of the sorted rows adds what it does not share with the row before it, and
its position ids start again at the fork. What a token sees is its path from the root. A token k is above all tokens of
its subtree, which ends before `ends[k]`; so a token q sees k exactly when k <= q < ends[k].

All of it is computed from arrays on the host (`lay_out`), in a process that need not be the one that trains.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
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

    `ids` and `positions` are integer tensors [1, tokens]; `ends` [tokens] says where the subtree of each token ends.
    `index` [rows, length] says where each token of the rows is; behind a row's end it points at the first token.
    `keys` are the paths of all runs, joined, of which each begins at one of `key_starts` [runs + 1], as the runs
    themselves at one of `query_starts`; no run is longer than `longest_query`, no path longer than `longest_key`.

    `paths[i]` says in ranges where row i of the packed rows is. `runs` are all tokens in order. `made` keeps what a way
    to attend has made of them, for the next layer.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    ends: torch.Tensor
    index: torch.Tensor
    keys: torch.Tensor
    query_starts: torch.Tensor
    key_starts: torch.Tensor
    longest_query: int
    longest_key: int
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
    same, other = 0, min(len(left), len(right))
    if left[:other] == right[:other]:
        return other
    # They differ at a place from `same` on, and before `other`.
    while other - same > 1:
        middle = (same + other) // 2
        if left[same:middle] == right[same:middle]:
            same = middle
        else:
            other = middle
    return same


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


@dataclass(frozen=True, slots=True)
class Layout:
    """A packed row as it was laid out on the host.

    `arrays` are the tensors of a `Packed`, by their names, but for `ids` and `positions`, which are [tokens].
    """

    arrays: dict[str, np.ndarray]
    paths: list[Ranges]
    runs: list[Run]

    @property
    def num_tokens(self) -> int:
        """How many tokens are computed."""
        return self.runs[-1].stop if self.runs else 0

    def on(self, device: torch.device | str, way: Way = "blocks") -> Packed:
        """Return the packed row on a device."""
        return self.packed({name: torch.from_numpy(each).to(device) for name, each in self.arrays.items()}, way)

    def packed(self, tensors: Mapping[str, torch.Tensor], way: Way = "blocks") -> Packed:
        """Return the packed row, whose arrays are there as tensors, on whichever device."""
        return Packed(
            ids=tensors["ids"][None],
            positions=tensors["positions"][None],
            ends=tensors["ends"],
            index=tensors["index"],
            keys=tensors["keys"],
            query_starts=tensors["query_starts"],
            key_starts=tensors["key_starts"],
            longest_query=max(run.stop - run.start for run in self.runs),
            longest_key=max(run.stop - run.start + run.depth for run in self.runs),
            paths=self.paths,
            runs=self.runs,
            way=way,
        )


def lay_out(ids: np.ndarray, lengths: np.ndarray) -> Layout:
    """Lay rows out as one packed row.

    Args:
        ids: token ids [rows, length], none negative.
        lengths: how many of them, from the left, are each row's own; a row may be empty.
    """
    # As bytes, most significant first, rows compare as lists of numbers do, and in no time.
    big, counts = ids.astype(">u4"), lengths.tolist()
    as_bytes = [row[:count].tobytes() for row, count in zip(big, counts, strict=True)]
    order = sorted(range(len(counts)), key=as_bytes.__getitem__)
    rows, ends_of_rows = ids[order], lengths[order]
    same = rows[1:] == rows[:-1]
    forks = np.where(same.all(1), ids.shape[1], same.argmin(1)) if len(same) else np.zeros(0, np.int64)
    depths = np.zeros_like(ends_of_rows)
    depths[1:] = np.minimum(forks, np.minimum(ends_of_rows[1:], ends_of_rows[:-1]))
    sizes = ends_of_rows - depths
    stops = sizes.cumsum()
    columns = np.arange(ids.shape[1])
    is_own = columns < ends_of_rows[:, None]
    is_new = is_own & (columns >= depths[:, None])
    index, ends = np.zeros(ids.shape, np.int64), np.empty(int(sizes.sum()), np.int32)
    spans = list(zip((stops - sizes).tolist(), stops.tolist(), depths.tolist(), ends_of_rows.tolist(), strict=True))
    paths: list[Ranges] = [()] * len(order)
    runs: list[Run] = []
    path: Ranges = ()
    for row, (start, stop, depth, end) in enumerate(spans):
        # What it shares, it shares with the row before it.
        index[row, :depth] = index[row - 1, :depth]
        index[row, depth:end] = np.arange(start, stop)
        path = _cut(path, depth)
        if start < stop:
            runs.append(Run(start, stop, path))
            path = joined(path, (start, stop))
        paths[order[row]] = path
    # From the last row to the first: where, by depth, the next row begins that does not go through this token.
    nexts = np.full(ids.shape[1], len(ends), np.int32)
    for start, stop, depth, end in reversed(spans):
        ends[start:stop] = nexts[depth:end]
        nexts[depth:] = start
    has_new = sizes > 0
    arrays = {
        "ids": rows[is_new],
        "positions": np.broadcast_to(columns, ids.shape)[is_new],
        "ends": ends,
        "index": np.empty_like(index),
        "keys": index[is_own & has_new[:, None]],
        "query_starts": _starts(sizes[has_new]),
        "key_starts": _starts(ends_of_rows[has_new]),
    }
    arrays["index"][order] = index
    return Layout(arrays, paths, runs)


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], sizes.cumsum()]).astype(np.int32)


def pack(rows: Sequence[list[int]], device: torch.device | str = "cpu", way: Way = "blocks") -> Packed:
    """Lay rows of token ids out as one packed row; one row at least needs a token."""
    lengths = np.array([len(row) for row in rows])
    ids = np.zeros((len(rows), int(lengths.max())), np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    return lay_out(ids, lengths).on(device, way)


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
