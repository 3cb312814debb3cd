"""Which prompts are answered side by side: those that begin alike, as many as there is room for."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from calltune.models.trie import num_shared

# In tokens that a model computes in the time. Every token that a batch writes reads all weights, whatever its rows are;
# and every row reads what of its prompt it does not share with all the others.
_A_BATCH = 512
_A_TOKEN_READ = 1 / 16
_A_BEGINNING = 16


def alike(
    prompts: Sequence[list[int]], tokens_per_batch: int, room: int, copies: int = 1
) -> list[tuple[list[int], int]]:
    """Batches of prompts as (their numbers sorted by their tokens, how many tokens all of them begin with).

    A batch has at most `tokens_per_batch` tokens, counted with padding, those that all its prompts share once and
    `room` for each of `copies` answers to a prompt. A longer prompt is a batch of its own.
    """
    order = sorted(range(len(prompts)), key=prompts.__getitem__)

    def cost(rows: "Stretch") -> float | None:
        size = rows.shared + rows.count * (rows.longest - rows.shared + copies * room)
        if rows.count > 1 and size > tokens_per_batch:
            return None
        unshared = rows.total - rows.count * rows.shared
        return _A_BATCH + rows.distinct + _A_TOKEN_READ * unshared * copies

    return _cut([prompts[number] for number in order], order, cost)


def beginnings(rows: Sequence[list[int]]) -> list[tuple[list[int], int]]:
    """Sorted rows as (numbers of neighbours, how many tokens they begin with) so that least is computed again."""

    def cost(stretch: "Stretch") -> float:
        if stretch.count == 1:
            return stretch.total
        return _A_BEGINNING + stretch.shared + stretch.total - stretch.count * stretch.shared

    cut = _cut(rows, range(len(rows)), cost)
    return [(numbers, shared if len(numbers) > 1 else 0) for numbers, shared in cut]


class Stretch:
    """Neighbours among sorted rows: how many, of how many tokens in all, the longest, all distinct, shared by all."""

    def __init__(self, last: int) -> None:
        # A row's last token is computed for itself, since what follows it is asked.
        self.count, self.total, self.longest, self.distinct, self.shared = 1, last, last, last, last - 1

    def take(self, length: int, shared: int) -> None:
        """Take the row before; it has so many tokens, and so many in common with the first of these."""
        self.count += 1
        self.total += length
        self.longest = max(self.longest, length)
        self.distinct += length - shared
        self.shared = min(self.shared, shared, length - 1)


def _cut(
    rows: Sequence[list[int]], order: Sequence[int], cost: Callable[[Stretch], float | None]
) -> list[tuple[list[int], int]]:
    """Cut sorted rows where the costs in sum are least; where a stretch has none, longer ones have none either."""
    common = [0, *(num_shared(left, right) for left, right in pairwise(rows))]
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    for stop in range(1, len(rows) + 1):
        stretch, choices = Stretch(len(rows[stop - 1])), []
        for start in reversed(range(stop)):
            if start < stop - 1:
                stretch.take(len(rows[start]), common[start + 1])
            value = cost(stretch)
            if value is None:
                break
            choices.append((best[start][0] + value, start, stretch.shared))
        best.append(min(choices))
    return [
        ([order[number] for number in range(start, stop)], shared) for start, stop, shared in reversed([*_back(best)])
    ]


def _back(best: Sequence[tuple[float, int, int]]) -> Iterator[tuple[int, int, int]]:
    stop = len(best) - 1
    while stop > 0:
        _, start, shared = best[stop]
        yield start, stop, shared
        stop = start
