"""How long a stage takes that draws its answers: by a few of its own steps, or by the work that they are.

What is drawn is not known before, so no part of a batch can stand for it: a probe takes whole optimiser steps, at least
one, each with its drawing, its judging and its learning. It writes one checkpoint, into a folder that is thrown away.
"""

import random
import time
from contextlib import AbstractContextManager

import torch

from calltune.files.tracking import Tracker
from calltune.runtime.terminal import say
from calltune.training.arguments import not_default
from calltune.training.finite import row_names
from calltune.training.probe import (
    count_steps,
    num_saves,
    only_train,
    save_interval,
    weightless_trainer,
    writes_checkpoint,
)
from calltune.training.ready import Ready
from calltune.training.step_clock import StepClock
from calltune.training.steps import train
from calltune.training.trainer import make_trainer, share
from calltune.training.work import FORWARD, Work

_FEWEST_STEPS = 5  # the first of which is no measure of the others
_MOST_QUESTIONS = 256  # whose work is added up; the others are taken to be like them


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
    only_train(asked)
    watch = StepClock(_FEWEST_STEPS, limit, writes_checkpoint(ready))
    trainer.add_callback(watch)
    with tracking as tracker:
        tracker.parameters(not_default(asked))
        once = time.perf_counter() - begun
        train(trainer, f"{stage}, a probe", None, tracker, row_names(ready.chat, ready.rows), stops_at_once=True)
        save = time.perf_counter() - watch.last
    # The first step looks at the model, too, and counts for the others only where there are none.
    later = watch.rates or watch.seconds
    each = sum(later) / len(later)
    num_answers = asked.per_device_train_batch_size * asked.gradient_accumulation_steps
    # A validation answer is drawn and looked at, but nothing is learned from it.
    watched = len(ready.watched.texts) * asked.num_generations_eval * int(epochs) / num_processes
    validation = 2 * FORWARD * watched * each / num_answers
    return steps, epochs, once + watch.seconds[0] + each * (steps - 1) + save * saves + validation


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
