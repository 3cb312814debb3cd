"""The order in which questions are asked: every behaviour equally often, and each question as often as its fellows."""

import time
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader
from trl.trainer.utils import RepeatSampler

from calltune.training.balancing import BalancedSampler, balance_questions

BEHAVIORS = ["tool_call"] * 9 + ["direct"] * 3 + ["cannot_answer"] * 2 + ["request_for_info"]
NUM_ANSWERS, NUM_QUESTIONS, NUM_USES = 3, 4, 2


def sampler(seed: int | None = 5) -> BalancedSampler:
    return BalancedSampler(BEHAVIORS, NUM_ANSWERS, NUM_QUESTIONS, NUM_USES, seed)


def asked(found: BalancedSampler, epochs: int) -> list[int]:
    """The questions of some epochs, each once for all its answers and uses."""
    drawn = []
    for epoch in range(epochs):
        found.set_epoch(epoch)
        numbers = list(found)
        size = NUM_ANSWERS * NUM_QUESTIONS
        batches = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        drawn += [number for batch in batches[::NUM_USES] for number in batch[::NUM_ANSWERS]]
    return drawn


def test_the_layout_is_that_of_trls_own_sampler() -> None:
    own = RepeatSampler(range(len(BEHAVIORS)), NUM_ANSWERS, NUM_QUESTIONS, NUM_USES, seed=5)
    theirs, ours, size = list(own), list(sampler()), NUM_ANSWERS * NUM_QUESTIONS
    assert len(sampler()) == len(ours) == 4 * size * NUM_USES
    for numbers in (theirs, ours):
        for start in range(0, len(numbers), size * NUM_USES):
            batch = numbers[start : start + size]
            assert numbers[start + size : start + 2 * size] == batch
            assert all(len({*batch[place : place + NUM_ANSWERS]}) == 1 for place in range(0, size, NUM_ANSWERS))


def test_every_behaviour_comes_equally_often_and_each_of_its_questions_does() -> None:
    drawn = asked(sampler(), 9)
    assert len(drawn) == 9 * 16
    assert set(Counter(BEHAVIORS[number] for number in drawn).values()) == {36}
    of_question = Counter(drawn)
    assert {number: of_question[number] for number in range(9)} == dict.fromkeys(range(9), 4)
    assert [of_question[number] for number in (9, 10, 11)] == [12, 12, 12]
    assert [of_question[number] for number in (12, 13, 14)] == [18, 18, 36]
    for start in range(0, len(drawn), NUM_QUESTIONS):
        assert len({BEHAVIORS[number] for number in drawn[start : start + NUM_QUESTIONS]}) == 4


def test_many_questions_are_laid_out_in_time_that_grows_with_their_number() -> None:
    """An epoch of twenty thousand took minutes when each place shuffled all of its behaviour."""
    many = BalancedSampler(["tool_call", "direct"] * 10_000, 1, 4, 1, 5)
    begun = time.perf_counter()
    drawn = list(many)
    assert time.perf_counter() - begun < 10
    assert sorted(drawn) == list(range(20_000))


def test_the_order_is_that_of_the_seed_and_the_epoch() -> None:
    assert asked(sampler(), 3) == asked(sampler(), 3) != asked(sampler(6), 3)
    in_order = [number for number in asked(sampler(None), 2) if BEHAVIORS[number] == "tool_call"]
    assert in_order == [0, 1, 2, 3, 4, 5, 6, 7]


def prepared(processes: int, rank: int) -> DataLoader:
    arguments = SimpleNamespace(
        seed=5,
        data_seed=None,
        shuffle_dataset=True,
        num_generations=NUM_ANSWERS,
        generation_batch_size=NUM_ANSWERS * NUM_QUESTIONS,
        num_iterations=NUM_USES,
        steps_per_generation=1,
    )
    trainer = SimpleNamespace(train_dataset=torch.arange(len(BEHAVIORS)), args=arguments)
    balance_questions(trainer, BEHAVIORS)
    size = NUM_ANSWERS * NUM_QUESTIONS // processes
    loader = DataLoader(trainer.train_dataset, batch_size=size, sampler=trainer._get_train_sampler())
    return prepare_data_loader(loader, num_processes=processes, process_index=rank, put_on_device=False)


def test_processes_divide_what_is_drawn_and_a_resumed_one_goes_on() -> None:
    whole = [batch.tolist() for batch in prepared(1, 0)]
    two = [[batch.tolist() for batch in prepared(2, rank)] for rank in range(2)]
    assert [first + second for first, second in zip(*two, strict=True)] == whole

    resumed = prepared(1, 0)
    resumed.set_epoch(1)
    later = [batch.tolist() for batch in skip_first_batches(resumed, 3)]
    undisturbed = prepared(1, 0)
    undisturbed.set_epoch(1)
    assert later == [batch.tolist() for batch in undisturbed][3:]
    assert later != whole[3:]


def test_behaviours_must_be_those_of_the_questions() -> None:
    with pytest.raises(ValueError, match="2 behaviours for 3 questions"):
        balance_questions(SimpleNamespace(train_dataset=range(3), args=None), ["direct", "direct"])
