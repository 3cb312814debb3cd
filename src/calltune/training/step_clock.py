"""The clock that a probe lays beside training: it takes the seconds of steps, and stops when it saw enough."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from calltune.training.steady import is_steady


class StepClock(TrainerCallback):
    """Stops training when enough was seen; seconds of each step, from one step's end to the next.

    Args:
        fewest: steps after which it may be enough.
        limit: seconds, which one more step like the last must not pass; the first step is always taken.
        saves: whether the last step is followed by a checkpoint.
    """

    def __init__(self, fewest: int, limit: float, saves: bool) -> None:
        self.seconds: list[float] = []
        self.last = 0.0
        self._fewest, self._limit, self._saves = fewest, limit, saves

    @property
    def rates(self) -> Sequence[float]:
        """What is to be steady: the seconds of each step but the first, which looks at the model."""
        return self.seconds[1:]

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.last = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """One step; the last one is followed by a checkpoint."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last, spent = now, sum(self.seconds)
        is_enough = len(self.seconds) >= self._fewest and is_steady(spent, self.rates)
        if is_enough or spent + self.seconds[-1] > self._limit:
            control.should_training_stop = True
            control.should_save = self._saves
