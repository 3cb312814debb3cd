"""The order in which rows with the same tools share their batches."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader

from calltune.training.grouping import GroupedSampler, group_batches

GROUPS = ["a"] * 9 + ["b"] * 6 + ["c"] * 3 + ["d"]


def batches(sampler: GroupedSampler, size: int = 4) -> list[list[int]]:
    order = list(sampler)
    return [order[start : start + size] for start in range(0, len(order), size)]


@pytest.mark.parametrize("size", [1, 2, 4, 7, 100])
def test_each_row_comes_once(size: int) -> None:
    sampler = GroupedSampler(GROUPS, size, seed=0)
    assert sorted(sampler) == list(range(len(GROUPS)))
    assert len(sampler) == len(GROUPS)


def test_rows_of_a_group_fill_whole_batches() -> None:
    found = batches(GroupedSampler(GROUPS, 4, seed=0))
    alike = Counter(GROUPS[batch[0]] for batch in found if len(batch) == 4 and len({GROUPS[row] for row in batch}) == 1)
    assert alike["a"] >= 2
    assert alike["b"] >= 1
    assert [len(batch) for batch in found] == [4, 4, 4, 4, 3]


def test_the_order_is_that_of_the_seed_and_the_epoch() -> None:
    one, same, other = (GroupedSampler(GROUPS, 4, seed) for seed in (1, 1, 2))
    first = list(one)
    assert list(one) == first == list(same)
    assert list(other) != first
    one.set_epoch(1)
    assert list(one) != first
    one.set_epoch(0)
    assert list(one) == first


def prepared(processes: int, rank: int) -> DataLoader:
    trainer = SimpleNamespace(
        train_dataset=torch.arange(len(GROUPS)), args=SimpleNamespace(train_batch_size=4, data_seed=None, seed=5)
    )
    group_batches(trainer, GROUPS)
    loader = DataLoader(trainer.train_dataset, batch_size=4, sampler=trainer._get_train_sampler())
    return prepare_data_loader(loader, num_processes=processes, process_index=rank, put_on_device=False)


def drawn(loader: DataLoader, epoch: int) -> list[list[int]]:
    loader.set_epoch(epoch)
    return [batch.tolist() for batch in loader]


def test_a_resumed_run_goes_on_with_the_rows_that_would_have_followed() -> None:
    straight = [drawn(prepared(1, 0), epoch) for epoch in range(2)]
    assert straight[0] != straight[1]
    resumed = prepared(1, 0)
    resumed.set_epoch(1)
    assert [batch.tolist() for batch in skip_first_batches(resumed, 2)] == straight[1][2:]


def test_processes_get_whole_batches_of_the_same_order() -> None:
    whole = drawn(prepared(1, 0), 1)
    assert [drawn(prepared(2, rank), 1)[:2] for rank in range(2)] == [[whole[0], whole[2]], [whole[1], whole[3]]]


def test_a_group_is_needed_for_each_row() -> None:
    trainer = SimpleNamespace(train_dataset=[1, 2], args=None)
    with pytest.raises(ValueError, match="1 groups for 2 rows"):
        group_batches(trainer, ["a"])
