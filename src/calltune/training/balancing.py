"""The order of questions in which every behaviour is asked equally often, however many rows there are of each.

A factor on the rewards of rare behaviours would do nothing: GRPO divides what an answer earns by the spread of its own
group. So the balance is in how often a question comes.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import Sampler


class BalancedSampler(Sampler[int]):
    """Yields numbers of questions as TRL's own sampler does: each as often in a row as it is answered.

    The behaviours take turns. The questions of one come in an order that is shuffled anew when all of them were asked,
    so that rare ones come again sooner. An epoch asks as many questions as there are, rounded up to whole batches; the
    next one goes on from there. Each run with one seed draws the same.
    """

    def __init__(
        self, behaviors: Sequence[str], num_answers: int, num_questions: int, num_uses: int, seed: int | None
    ) -> None:
        """Keep which questions are of which behaviour.

        Args:
            behaviors: of each question.
            num_answers: how often a question comes in a row.
            num_questions: that are answered at a time, by all processes together.
            num_uses: how often what was answered is then asked for again.
            seed: None keeps the rows' own order.
        """
        of = defaultdict[str, list[int]](list)
        for number, behavior in enumerate(behaviors):
            of[behavior].append(number)
        self._decks = [(behavior, of[behavior]) for behavior in sorted(of)]
        self._num_answers, self._num_questions, self._num_uses = num_answers, num_questions, num_uses
        self._seed, self._epoch = seed, 0
        self._shuffled: dict[str, tuple[int, list[int]]] = {}
        self._num_drawn = -(-len(behaviors) // num_questions) * num_questions

    def __len__(self) -> int:
        return self._num_drawn * self._num_answers * self._num_uses

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch that accelerate's data loader tells; a resumed run is told the epoch in which it stopped."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        begun = self._epoch * self._num_drawn
        drawn = [self._question(place) for place in range(begun, begun + self._num_drawn)]
        for start in range(0, len(drawn), self._num_questions):
            batch = drawn[start : start + self._num_questions]
            for _ in range(self._num_uses):
                for number in batch:
                    yield from [number] * self._num_answers

    def _question(self, place: int) -> int:
        """The question at a place in the row of all that are ever asked."""
        turn, which = divmod(place, len(self._decks))
        behavior, numbers = self._decks[which]
        times, there = divmod(turn, len(numbers))
        if self._seed is None:
            return numbers[there]
        # Places come in order, so one order of each behaviour is kept: to shuffle at every place would take hours.
        if self._shuffled.get(behavior, (None,))[0] != times:
            order = random.Random(f"{self._seed} {behavior} {times}").sample(numbers, len(numbers))
            self._shuffled[behavior] = times, order
        return self._shuffled[behavior][1][there]


def balance_questions(trainer: Any, behaviors: Sequence[str]) -> None:
    """Let TRL's GRPO trainer draw its training questions so that all behaviours come equally often.

    The sampler is put on this one trainer, in the place where transformers 5 asks for it, as `group_batches` does.
    """
    if len(behaviors) != len(trainer.train_dataset):
        raise ValueError(f"{len(behaviors)} behaviours for {len(trainer.train_dataset)} questions")
    asked = trainer.args
    seed = (asked.seed if asked.data_seed is None else asked.data_seed) if asked.shuffle_dataset else None
    sampler = BalancedSampler(
        behaviors,
        asked.num_generations,
        asked.generation_batch_size // asked.num_generations,
        asked.num_iterations * asked.steps_per_generation,
        seed,
    )
    trainer._get_train_sampler = lambda dataset=None: sampler
