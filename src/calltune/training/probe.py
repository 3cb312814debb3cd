"""How long a stage takes, from a few real optimiser steps of the real model on the real rows, or from parts of them.

A probe does what the stage does, in a folder that is thrown away: it loads the model, tokenizes every row, opens the
tracker, asks some of DPO's reference batches, takes the first steps in the stage's own order, writes one checkpoint and
the stage's model. What happens once counts once; the rest is multiplied. It begins with a forward pass over a few
tokens of one row, by which it knows what it has time for: where a few steps take longer than that, parts of batches
stand for them (`calltune.training.pieces`).
"""

import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import BatchSamplerShard
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from calltune.files.tracking import Tracker
from calltune.runtime.terminal import say
from calltune.training.arguments import not_default, refusals_of_trl
from calltune.training.finite import row_names
from calltune.training.pieces import Pieces
from calltune.training.ready import Ready
from calltune.training.reference import can_store, time_reference
from calltune.training.saving import save_model
from calltune.training.step_clock import StepClock
from calltune.training.steps import train
from calltune.training.trainer import group, make_trainer, share
from calltune.training.work import FORWARD, Work

_FEWEST_STEPS = 4
_FOR_REFERENCE = 1 / 4  # of the limit
_MOST_BYTES = 2**30  # of a checkpoint that is written for its time; of a larger one, a part
_FEW_TOKENS = 32  # of a row whose loss is computed, whatever it is
_AGAIN = 4 / 3  # of a step's time where activations are computed twice


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


class _Watch(StepClock):
    """It takes the work of each step, too, and the seconds for one unit of it are to be steady."""

    def __init__(self, model: torch.nn.Module, work: Work, limit: float, saves: bool) -> None:
        super().__init__(_FEWEST_STEPS, limit, saves)
        self.works: list[float] = []
        self._work, self._seen = work, 0.0
        model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, module: torch.nn.Module, inputs: Any, kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            self._seen += self._work.of(kwargs)

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """One step, and its work."""
        self.works.append(self._seen)
        self._seen = 0.0
        super().on_step_end(args, state, control, **kwargs)

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


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a stage will do, by its trainer; `work` is of all its steps, on this process."""

    ready: Ready
    steps: int
    epochs: float
    save_steps: int
    saves: Any
    work: float


@dataclass(frozen=True, slots=True)
class _Timed:
    """Seconds of a stage's steps, and of what comes beside them: a unit of work, one checkpoint, what is done once."""

    steps: float
    per_work: float
    save: float
    once: float


def time_training(
    ready: Ready, num_processes: int, limit: float, tracking: AbstractContextManager[Tracker]
) -> tuple[int, float, float]:
    """A stage's optimiser steps, its epochs, and the seconds it is going to take here.

    Args:
        ready: with an output folder that may be written to and is thrown away.
        limit: in seconds, of passes and steps.
        tracking: the stage's run, not opened yet, as opening it takes time too.
    """
    settings, stage, part = ready.settings, ready.settings.stage, 1 / num_processes
    say(f"{stage}: some real steps, for the time they take (plan.probe_seconds=0 leaves them out) ...")
    begun = time.perf_counter()
    trainer = make_trainer(ready)
    sharing = share(settings, trainer)
    once = time.perf_counter() - begun
    group(settings, trainer, ready.rows)
    steps, epochs = count_steps(trainer, num_processes)
    work = Work(trainer.model, sharing.off_because is None)
    of_epoch = work.of_epoch(trainer)
    saves, save_steps = trainer.args.save_strategy, save_interval(trainer.args.save_steps, steps)
    plan = _Plan(ready, steps, epochs, save_steps, saves, of_epoch * epochs * part)
    pieces = Pieces(trainer, work, settings.tokens_per_batch)
    pieces.grow(limit)
    reference = 0.0
    if stage == "dpo":
        for_reference = limit * _FOR_REFERENCE
        names, is_hashed = row_names(ready.chat, ready.rows), Path(ready.model).is_dir()
        # A part has one pair at least, whose prompt counts once or twice.
        most = int(for_reference / 2 / (pieces.per_token * FORWARD))
        asked = for_reference if most >= 2 * ready.rows.longest else 0.0
        asking = time_reference(trainer, sharing, asked, names, is_hashed, most)
        reference = FORWARD * pieces.per_work * of_epoch if asking is None else asking
        limit -= for_reference
    only_train(trainer.args)
    is_quick = _FEWEST_STEPS * pieces.per_work * of_epoch * epochs / steps <= limit
    timed = (_whole_steps if is_quick else _parts_of_steps)(plan, trainer, work, pieces, limit, tracking)
    seconds = once + timed.once + timed.steps + reference * part
    seconds += timed.save * num_saves(saves, save_steps, steps, epochs)
    is_stored = stage == "dpo" and can_store(trainer.args)
    watched = of_epoch * ready.watched.num_tokens / ready.rows.num_tokens * (math.floor(epochs) + is_stored)
    return steps, epochs, seconds + FORWARD * timed.per_work * watched * part


def _whole_steps(plan: _Plan, trainer: Any, work: Work, pieces: Pieces, limit: float, tracking: Any) -> _Timed:
    """The stage's own first steps, at least two, and a checkpoint after them."""
    stage, ready = plan.ready.settings.stage, plan.ready
    saves = writes_checkpoint(ready)
    watch = _Watch(trainer.model, work, limit, saves)
    trainer.add_callback(watch)
    begun = time.perf_counter()
    with tracking as tracker:
        tracker.parameters(not_default(trainer.args))
        once = time.perf_counter() - begun
        names = row_names(ready.chat, ready.rows)
        state, _ = train(trainer, f"{stage}, a probe", None, tracker, names, stops_at_once=True)
        save = time.perf_counter() - watch.last
        begun = time.perf_counter()
        checkpoints = Path(trainer.args.output_dir)
        if saves:
            save_model(checkpoints / f"checkpoint-{state.global_step}", ready.model, checkpoints.parent, ready.chat)
            once += time.perf_counter() - begun
    if not saves:
        save, saved = _written(plan, pieces)
        once += saved
    return _Timed(watch.of(plan.steps, plan.work), watch.per_work, save, once)


def _parts_of_steps(plan: _Plan, trainer: Any, work: Work, pieces: Pieces, limit: float, tracking: Any) -> _Timed:
    """Forward and backward passes over parts of batches, and one optimiser step; or forward passes alone."""
    begun = time.perf_counter()
    with tracking as tracker:
        tracker.parameters(not_default(trainer.args))
    once = time.perf_counter() - begun
    _compute_a_loss(plan.ready.settings.stage, trainer)
    has_gone_back = pieces.go_back(limit)
    each = pieces.optimizer_step() if has_gone_back else 0.0
    per_work = pieces.per_work * (_AGAIN if _is_checkpointed(trainer.args) else 1.0)
    seconds = per_work * (plan.work + work.of_head(plan.ready.rows.num_answer_tokens) * plan.epochs) + each * plan.steps
    say(
        f"{plan.ready.settings.stage}: a step takes about {seconds / plan.steps:.0f} s, by "
        f"{'parts of some' if has_gone_back else 'forward passes over a few tokens, which is rough'}"
    )
    save, saved = _written(plan, pieces)
    return _Timed(seconds, per_work, save, once + saved)


def _compute_a_loss(stage: str, trainer: Any) -> None:
    """Compute the loss of the last few tokens of one row or pair: what TRL refuses, it refuses at its first loss.

    Raises:
        ConfigError: TRL refuses it.
    """
    batch = next(iter(trainer.get_train_dataloader()))
    num_rows = len(batch["input_ids"])
    numbers = [0, num_rows // 2] if stage == "dpo" else [0]
    few = dict(batch)
    for name, each in batch.items():
        # Packed rows bring numbers along, too.
        if isinstance(each, torch.Tensor):
            few[name] = each[numbers][:, -_FEW_TOKENS:] if each.ndim == 2 else each[:1]
    trainer.current_gradient_accumulation_steps = 1
    with refusals_of_trl(stage), torch.no_grad():
        trainer.compute_loss(trainer.model, few)


def _written(plan: _Plan, pieces: Pieces) -> tuple[float, float]:
    """Seconds of a checkpoint, and of the model at the end, which is read and written, by those of a few bytes."""
    per_byte = pieces.per_byte(Path(plan.ready.arguments.output_dir or "."))
    return per_byte * checkpoint_bytes(plan.ready), 2 * per_byte * plan.ready.memory.weights


def checkpoint_bytes(ready: Ready) -> int:
    """Bytes of a checkpoint: the weights, and what the optimiser keeps."""
    return ready.memory.weights + ready.memory.optimizer


def writes_checkpoint(ready: Ready) -> bool:
    """Whether a checkpoint is small enough to be written for the time that it takes."""
    return checkpoint_bytes(ready) <= _MOST_BYTES


def only_train(arguments: TrainingArguments) -> None:
    """Let no word come from validation, and no checkpoint but the last one."""
    arguments.eval_strategy, arguments.load_best_model_at_end = IntervalStrategy.NO, False
    arguments.save_strategy = SaveStrategy.NO


def _is_checkpointed(arguments: TrainingArguments) -> bool:
    asked = vars(arguments)
    return bool(asked.get("activation_checkpointing") or asked.get("gradient_checkpointing"))


def save_interval(given: float, steps: int) -> int:
    """Steps from one checkpoint to the next; below 1, a share of all of them, as transformers takes it."""
    return max(1, math.ceil(given * steps) if given < 1 else int(given))


def num_saves(strategy: Any, save_steps: int, steps: int, epochs: float) -> int:
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
    work = Work(ready.plan.skeleton, ready.settings.share_prefixes).of_epoch(trainer)
    # DPO's reference is one more forward pass over each row.
    work *= epochs + FORWARD * (ready.settings.stage == "dpo")
    return steps, epochs, work / flops_per_second / num_processes
