"""The order of training rows in which those with the same tools stand in the same batch, so that they share them."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import Sampler


class GroupedSampler(Sampler[int]):
    """Yields row numbers, batch after batch. Each epoch has another order, and each run with one seed the same.

    Rows of a group are shuffled and cut into whole batches; what is left over of all groups makes the mixed batches.
    Batches are shuffled, but for a short one, which is the last. Each row comes once an epoch.
    """

    def __init__(self, groups: Sequence[str], batch_size: int, seed: int) -> None:
        self._batch_size, self._seed, self._epoch = batch_size, seed, 0
        self._rows: dict[str, list[int]] = defaultdict(list)
        for number, group in enumerate(groups):
            self._rows[group].append(number)
        self._count = len(groups)

    def __len__(self) -> int:
        return self._count

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch that accelerate's data loader tells; a resumed run is told the epoch in which it stopped."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng, size = random.Random(f"{self._seed} {self._epoch}"), self._batch_size
        whole: list[list[int]] = []
        left: list[int] = []
        for numbers in rng.sample(list(self._rows.values()), len(self._rows)):
            shuffled = rng.sample(numbers, len(numbers))
            cut = len(shuffled) - len(shuffled) % size
            whole += [shuffled[start : start + size] for start in range(0, cut, size)]
            left += shuffled[cut:]
        cut = len(left) - len(left) % size
        whole += [left[start : start + size] for start in range(0, cut, size)]
        rng.shuffle(whole)
        for batch in [*whole, left[cut:]]:
            yield from batch


def group_batches(trainer: Any, groups: Sequence[str]) -> None:
    """Let a transformers Trainer draw its training rows group by group; `groups[i]` is row i's.

    The sampler is put on this one trainer, in the place where transformers 5 asks for it; what is prepared around it,
    the split over processes and the skipping of a resumed run, stays the trainer's.
    """
    if len(groups) != len(trainer.train_dataset):
        raise ValueError(f"{len(groups)} groups for {len(trainer.train_dataset)} rows")
    arguments = trainer.args
    sampler = GroupedSampler(groups, arguments.train_batch_size, arguments.data_seed or arguments.seed)
    trainer._get_train_sampler = lambda dataset=None: sampler
