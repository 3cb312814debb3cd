"""Which prompts stand side by side in a batch, and what of them is computed once."""

import random

import pytest
from small_models import some_tokens

from calltune.models.backends.batching import alike, beginnings


def agents(*counts: int, length: int = 500) -> list[list[int]]:
    """Prompts of agents with so many questions each, in any order."""
    rng = random.Random(0)
    rows = [
        tools + some_tokens(rng, 20) for count in counts for tools in [some_tokens(rng, length)] for _ in range(count)
    ]
    rng.shuffle(rows)
    return rows


def test_prompts_with_one_beginning_are_a_batch() -> None:
    prompts = agents(20, 30)
    batches = alike(prompts, 16_384, room=64)
    assert sorted(len(numbers) for numbers, _ in batches) == [20, 30]
    assert sorted(number for numbers, _ in batches for number in numbers) == list(range(50))
    for numbers, shared in batches:
        assert len({tuple(prompts[number][:shared]) for number in numbers}) == 1
        assert shared >= 500


def test_few_of_a_kind_are_no_batch_of_their_own() -> None:
    prompts = agents(*[2] * 8)
    ((numbers, shared),) = alike(prompts, 16_384, room=64)
    rows = [prompts[number] for number in numbers]
    assert shared < 5
    parts = beginnings([row[shared:] for row in rows])
    assert [len(part) for part, _ in parts] == [2] * 8
    for part, count in parts:
        assert len({tuple(rows[number][shared : shared + count]) for number in part}) == 1
        assert count + shared >= 500


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("bound", [100, 700, 2_000, 10_000])
def test_batches_keep_to_their_bound(bound: int, copies: int) -> None:
    prompts = [*agents(7, 5, 1, 1), *agents(9, length=40), [1], [1], [1, 2]]
    batches = alike(prompts, bound, 30, copies)
    assert sorted(number for numbers, _ in batches for number in numbers) == list(range(len(prompts)))
    for numbers, shared in batches:
        rows = [prompts[number] for number in numbers]
        assert rows == sorted(rows)
        # The last token of a prompt is left, for what comes after it is asked.
        assert shared < min(map(len, rows))
        assert len({tuple(row[:shared]) for row in rows}) == 1
        width = max(map(len, rows)) - shared
        assert len(rows) == 1 or shared + len(rows) * (width + copies * 30) <= bound


def test_nothing_is_no_batch() -> None:
    assert alike([], 256, 8) == []
