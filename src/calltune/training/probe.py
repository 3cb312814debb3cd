"""How long a stage takes, from a few real optimiser steps of the real model on the real rows.

A probe does what the stage does, in a folder that is thrown away: it loads the model, tokenizes every row, opens the
tracker, asks some of DPO's reference batches, takes the first steps in the stage's own order, writes one checkpoint and
the stage's model. What happens once counts once; the rest is multiplied.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from accelerate.data_loader import BatchSamplerShard
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from calltune.files.tracking import Tracker
from calltune.models.trie import pack
from calltune.runtime.terminal import say
from calltune.training.finite import row_names
from calltune.training.flops import Flops
from calltune.training.reference import can_store, time_reference
from calltune.training.saving import save_model
from calltune.training.stage import Ready, group, make_trainer, share
from calltune.training.steps import train

_FEWEST_STEPS = 4
_FEWEST_SECONDS = 2.0
_STEADY = 0.03
_FEWEST_BATCHES = 32
_PATIENCE = 6  # times the limit, after which fewer steps have to do
_WORK_SECONDS = 2.0  # at most, for the work of an epoch's batches; the rest are taken to be as those looked at
_FORWARD = 1 / 3
"""Of a step, for validation and reference: the backward pass takes twice as long as the forward pass."""


def is_steady(spent: float, rates: Sequence[float]) -> bool:
    """Whether timing more would hardly move the mean: 2 seconds were spent, and its standard error is under 3 %."""
    if spent < _FEWEST_SECONDS or len(rates) < 3:
        return False
    return stdev(rates) / math.sqrt(len(rates)) < _STEADY * mean(rates)


class _Length:
    """As many batches as one process of several is given."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


def count_steps(trainer: Any, num_processes: int) -> tuple[int, float]:
    """A stage's optimiser steps and epochs, by the trainer's own arithmetic, when so many processes train."""
    loader = trainer.get_train_dataloader()
    batches: Any = loader
    if num_processes > 1:
        batches = _Length(len(BatchSamplerShard(loader.batch_sampler, num_processes=num_processes, process_index=0)))
    *_, steps_in_epoch, max_steps = trainer.set_initial_training_values(trainer.args, batches)
    accumulated = trainer.args.gradient_accumulation_steps
    return max_steps, max_steps / max(1, math.ceil(steps_in_epoch / accumulated))


def weightless_trainer(ready: Ready) -> Any:
    """The stage's trainer over its real rows and a model of no layers: it counts steps and draws batches."""
    sizes: dict[str, Any] = {"vocab_size": len(ready.chat.tokenizer), "hidden_size": 2, "intermediate_size": 2}
    tiny = LlamaConfig(**sizes, num_hidden_layers=0, num_attention_heads=1, bos_token_id=None, eos_token_id=None)
    return make_trainer(ready, LlamaForCausalLM(tiny))


class _Work:
    """Floating-point operations of a batch as it is computed: what its rows share once, or padding and all."""

    def __init__(self, model: Any, is_shared: bool) -> None:
        inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self._flops = Flops(inner)
        self._is_shared = is_shared

    def of(self, batch: Mapping[str, Any]) -> float:
        """For what a trainer's collator gives; tokens where the operations are not known (a mixture of experts)."""
        if self._flops.per_token is None:
            return float(batch["input_ids"].numel())
        if not self._is_shared and "attention_mask" in batch:
            rows, length = batch["input_ids"].shape
            return rows * self._flops.of(pack([list(range(length))]))
        return sum(self._flops.of(pack(rows)) for rows in _rows(batch))

    def of_epoch(self, trainer: Any) -> float:
        """For all batches of an epoch, from the first of them, in the trainer's order, when they are many."""
        loader, works, begun = trainer.get_train_dataloader(), [], time.perf_counter()
        for batch in loader:
            works.append(self.of(batch))
            if len(works) >= _FEWEST_BATCHES and time.perf_counter() - begun >= _WORK_SECONDS:
                break
        return sum(works) * len(loader) / len(works)


def _rows(batch: Mapping[str, Any]) -> Iterator[list[list[int]]]:
    """The rows of a batch; packed ones apart, as they share nothing."""
    if batch.get("attention_mask") is not None:
        lengths = batch["attention_mask"].sum(1).tolist()
        yield [row[:length] for row, length in zip(batch["input_ids"].tolist(), lengths, strict=True)]
        return
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    ids = batch["input_ids"][0].tolist()
    for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
        yield [ids[start:stop]]


class _Watch(TrainerCallback):
    """Stops training when enough was seen; seconds and work of each step, from one step's end to the next."""

    def __init__(self, model: torch.nn.Module, work: _Work, limit: float) -> None:
        self.seconds: list[float] = []
        self.works: list[float] = []
        self._work, self._limit, self._seen = work, limit, 0.0
        model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, module: torch.nn.Module, inputs: Any, kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            self._seen += self._work.of(kwargs)

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, and learn how often the stage saves."""
        self.last, self.save_steps = time.perf_counter(), state.save_steps

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """One step; the last one is followed by a checkpoint."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.works.append(self._seen)
        self.last, self._seen = now, 0.0
        spent = sum(self.seconds)
        is_enough = len(self.seconds) >= _FEWEST_STEPS and (spent >= self._limit or is_steady(spent, self.rates))
        if is_enough or spent >= _PATIENCE * self._limit:
            control.should_save = control.should_training_stop = True

    def of(self, num_steps: int, work: float) -> float:
        """Seconds of all steps: the first as it was, as it may check its batch; the others by their work."""
        if len(self.seconds) >= num_steps:
            return sum(self.seconds)
        return self.seconds[0] + self.per_work * max(0.0, work - self.works[0])

    @property
    def rates(self) -> list[float]:
        """Seconds for one unit of work of each step but the first."""
        return [seconds / work for seconds, work in zip(self.seconds[1:], self.works[1:], strict=True)]

    @property
    def per_work(self) -> float:
        """Seconds for one unit of work, but for the first step where there are others."""
        start = min(1, len(self.seconds) - 1)
        return sum(self.seconds[start:]) / sum(self.works[start:])


def time_training(
    ready: Ready, num_processes: int, limit: float, tracking: AbstractContextManager[Tracker]
) -> tuple[int, float, float]:
    """A stage's optimiser steps, its epochs, and the seconds it is going to take here.

    Args:
        ready: with an output folder that may be written to and is thrown away.
        limit: in seconds, of real steps.
        tracking: the stage's run, not opened yet, as opening it takes time too.
    """
    settings, stage = ready.settings, ready.settings.stage
    say(f"{stage}: some real steps, for the time they take (plan.probe_seconds=0 leaves them out) ...")
    begun = time.perf_counter()
    trainer = make_trainer(ready)
    sharing = share(settings, trainer)
    once = time.perf_counter() - begun
    names = row_names(ready.chat, ready.rows)
    is_hashed = Path(ready.model).is_dir()
    reference = time_reference(trainer, sharing, limit / 2, names, is_hashed) if stage == "dpo" else 0.0
    group(settings, trainer, ready.rows)
    steps, epochs = count_steps(trainer, num_processes)
    saves = trainer.args.save_strategy
    # No word from validation, and no checkpoint but the last.
    trainer.args.eval_strategy, trainer.args.load_best_model_at_end = IntervalStrategy.NO, False
    trainer.args.save_strategy = SaveStrategy.NO
    work = _Work(trainer.model, sharing.off_because is None)
    work_of_epoch = work.of_epoch(trainer)
    watch = _Watch(trainer.model, work, limit)
    trainer.add_callback(watch)
    begun = time.perf_counter()
    with tracking as tracker:
        tracker.parameters(trainer.args.to_dict())
        once += time.perf_counter() - begun
        state, _ = train(trainer, f"{stage}, a probe", None, tracker, names, stops_at_once=True)
        save = time.perf_counter() - watch.last
        begun = time.perf_counter()
        checkpoints = Path(trainer.args.output_dir)
        save_model(checkpoints / f"checkpoint-{state.global_step}", ready.model, checkpoints.parent, ready.chat)
    once += time.perf_counter() - begun
    part = 1 / num_processes
    seconds = once + watch.of(steps, work_of_epoch * epochs * part)
    seconds += save * _num_saves(saves, watch.save_steps, steps, epochs) + reference * part
    is_stored = stage == "dpo" and can_store(trainer.args)
    watched = work_of_epoch * ready.watched.num_tokens / ready.rows.num_tokens * (math.floor(epochs) + is_stored)
    seconds += _FORWARD * watch.per_work * watched * part
    return steps, epochs, seconds


def _num_saves(strategy: Any, save_steps: int, steps: int, epochs: float) -> int:
    """Checkpoints that are written; the last step's always is."""
    if strategy == SaveStrategy.STEPS:
        return math.ceil(steps / max(1, save_steps))
    return math.ceil(epochs) if strategy == SaveStrategy.EPOCH else 1


def reckon_training(ready: Ready, num_processes: int, flops_per_second: float) -> tuple[int, float, float]:
    """As `time_training`, by the floating-point operations of every batch, without a model.

    Args:
        flops_per_second: useful ones, of each process.
    """
    trainer = weightless_trainer(ready)
    group(ready.settings, trainer, ready.rows)
    steps, epochs = count_steps(trainer, num_processes)
    work = _Work(ready.plan.skeleton, ready.settings.share_prefixes).of_epoch(trainer)
    # DPO's reference is one more forward pass over each row.
    work *= epochs + _FORWARD * (ready.settings.stage == "dpo")
    return steps, epochs, work / flops_per_second / num_processes
