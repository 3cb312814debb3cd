"""How long a stage takes that draws its answers: by a few of its own steps, or by the work that they are.

What is drawn is not known before, so no part of a batch can stand for it: a probe takes whole optimiser steps, at least
one, each with its drawing, its judging and its learning. It writes one checkpoint, into a folder that is thrown away.
"""

import random
import time
from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from calltune.files.tracking import Tracker
from calltune.runtime.terminal import say
from calltune.training.arguments import not_default
from calltune.training.finite import row_names
from calltune.training.probe import checkpoint_bytes, count_steps, num_saves, save_interval, weightless_trainer
from calltune.training.ready import Ready
from calltune.training.steady import is_steady
from calltune.training.steps import train
from calltune.training.trainer import make_trainer, share
from calltune.training.work import FORWARD, Work

_FEWEST_STEPS = 4
_MOST_BYTES = 2**30  # of a checkpoint that is written for its time
_MOST_QUESTIONS = 256  # whose work is added up; the others are taken to be like them


class _Watch(TrainerCallback):
    """Stops training when enough was seen; the seconds of each step."""

    def __init__(self, limit: float, saves: bool) -> None:
        self.seconds: list[float] = []
        self.last = 0.0
        self._limit, self._saves = limit, saves

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
        is_enough = len(self.seconds) > _FEWEST_STEPS and is_steady(spent, self.seconds[1:])
        if is_enough or spent + self.seconds[-1] > self._limit:
            control.should_training_stop = True
            control.should_save = self._saves

    @property
    def each(self) -> float:
        """The mean seconds of a step, but for the first, which looks at the model, where there are others."""
        later = self.seconds[1:] or self.seconds
        return sum(later) / len(later)


def time_drawing(
    ready: Ready, num_processes: int, limit: float, tracking: AbstractContextManager[Tracker]
) -> tuple[int, float, float]:
    """A stage's optimiser steps, its epochs, and the seconds it is going to take here, as `probe.time_training`."""
    settings, stage = ready.settings, ready.settings.stage
    say(f"{stage}: some real steps, for the time they take (plan.probe_seconds=0 leaves them out) ...")
    begun = time.perf_counter()
    trainer = make_trainer(ready)
    share(settings, trainer)
    steps, epochs = count_steps(trainer, num_processes)
    strategy, asked = trainer.args.save_strategy, trainer.args
    saves = num_saves(strategy, save_interval(asked.save_steps, steps), steps, epochs)
    asked.eval_strategy, asked.load_best_model_at_end = IntervalStrategy.NO, False
    asked.save_strategy = SaveStrategy.NO
    watch = _Watch(limit, checkpoint_bytes(ready) <= _MOST_BYTES)
    trainer.add_callback(watch)
    with tracking as tracker:
        tracker.parameters(not_default(asked))
        once = time.perf_counter() - begun
        train(trainer, f"{stage}, a probe", None, tracker, row_names(ready.chat, ready.rows), stops_at_once=True)
        save = time.perf_counter() - watch.last
    num_answers = asked.per_device_train_batch_size * asked.gradient_accumulation_steps
    # A validation answer is drawn and looked at, but nothing is learned from it.
    watched = len(ready.watched.texts) * asked.num_generations_eval * int(epochs) / num_processes
    validation = 2 * FORWARD * watched * watch.each / num_answers
    return steps, epochs, once + watch.seconds[0] + watch.each * (steps - 1) + save * saves + validation


def reckon_drawing(ready: Ready, num_processes: int, flops_per_second: float) -> tuple[int, float, float]:
    """As `time_drawing`, by floating-point operations, with answers as long as those that are known."""
    trainer = weightless_trainer(ready)
    steps, epochs = count_steps(trainer, num_processes)
    work, asked = Work(ready.plan.skeleton, ready.settings.share_prefixes), trainer.args
    texts = ready.rows.texts
    some = random.Random(0).sample(texts, min(_MOST_QUESTIONS, len(texts)))
    # Every answer is drawn by a forward pass, and then learned from; with a reference there is one pass more.
    times = FORWARD + asked.num_iterations * (1 + FORWARD * (ready.arguments.to_dict().get("beta", 0) != 0))
    total = 0.0
    for text in some:
        prompt, whole = (
            work.of({"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)})
            for ids in ready.chat.tokenizer([text["prompt"], text["prompt"] + text["completion"]]).input_ids
        )
        total += times * (prompt + asked.num_generations * (whole - prompt))
    seconds = total * len(texts) / len(some) * epochs / flops_per_second / num_processes
    return steps, epochs, seconds
