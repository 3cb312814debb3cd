"""Runs a trainer's steps, from the first one or from a checkpoint, to the last one or until it is asked to stop."""

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from calltune.files.tracking import Tracker
from calltune.models.device import trim_heap
from calltune.runtime.stopping import StopRequest, postponed_stop
from calltune.runtime.terminal import say
from calltune.training.arguments import refusals_of_trl
from calltune.training.checkpoints import SealCheckpoints
from calltune.training.collating import close_workers
from calltune.training.finite import FiniteSteps, RowNames, no_names
from calltune.training.guard import Guard
from calltune.training.progress import Progress, StopWhenAsked, told_of_stop

_SECONDS_BETWEEN_TRIMS = 20.0


class TrimHeap(TrainerCallback):
    """On a CPU, hands back now and then what the C library keeps of a step's blocks.

    Batches differ in size, so that freed blocks fit the next ones badly, and the memory taken grows by a quarter within
    dozens of steps. Pages that come back cost time when they are touched, so it is done rarely.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Trim, where the last time is long ago."""
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_TRIMS:
            trim_heap()
            self._last = time.monotonic()


def train(
    trainer: Any,
    stage: str,
    checkpoint: Path | None,
    tracker: Tracker,
    names: RowNames = no_names,
    *,
    stops_at_once: bool = False,
    guard: Guard | None = None,
) -> tuple[TrainerState, float]:
    """Run a TRL trainer to its last step, from a checkpoint or from the start, leaving the last step's checkpoint.

    Args:
        names: of rows, for a message.
        stops_at_once: whether a signal ends it where it is, instead of after the step with a checkpoint.
        guard: what asks the model on the way, where something does.

    Returns:
        The trainer's state after the last step, and the seconds it took now.

    Raises:
        Stopped, KeyboardInterrupt: a signal came; training goes on from the checkpoint that was written then.
        NotFiniteError: a loss, a gradient norm or a weight is no number.
        GuardError: a behaviour of the model collapsed.
    """
    if checkpoint:
        say(f"{stage}: resuming from {checkpoint.name}")
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step >= state.max_steps:
            # Killed while the model was saved. The trainer would do one step too many.
            return state, 0.0
        _count_steps_as(state, trainer.args)
    trainer.remove_callback(PrinterCallback)
    progress = Progress(stage, tracker)
    # First of all, so that nothing is told or sealed of what is no number.
    trainer.add_callback(FiniteSteps(trainer, stage, names))
    trainer.add_callback(progress)
    if guard:
        trainer.add_callback(guard)
    if trainer.accelerator.device.type == "cpu":
        trainer.add_callback(TrimHeap())
    # Older ones are removed when a newer one is sealed, not, as transformers does it, before.
    num_kept, trainer.args.save_total_limit = trainer.args.save_total_limit, None
    stopping = nullcontext(StopRequest()) if stops_at_once else postponed_stop(told_of_stop(stage))
    with warnings.catch_warnings(), refusals_of_trl(stage), stopping as request:
        # TRL 1.16 asks transformers 5.23 by an old name, once a step; the user can do nothing about it.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        # Tied weights are stored once, and transformers warns of the other name.
        logging.getLogger("transformers.trainer").addFilter(lambda record: "missing keys" not in record.msg)
        trainer.add_callback(StopWhenAsked(request))
        trainer.add_callback(SealCheckpoints(num_kept, lambda: guard.protected_step if guard else None))
        try:
            outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            progress.close()
            close_workers()
    request.raise_if_asked()
    return trainer.state, outcome.metrics["train_runtime"]


def _count_steps_as(state: TrainerState, args: TrainingArguments) -> None:
    """Write shares of the stage as the steps that they were before; transformers warns of a difference otherwise."""
    for name in ("logging_steps", "eval_steps", "save_steps"):
        share = getattr(args, name)
        if share is not None and 0 < share < 1:
            setattr(args, name, getattr(state, name))


def mean_loss(history: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean loss of all steps, from its means between two logs, whichever process did them."""
    total, before = 0.0, 0
    for entry in history:
        if "loss" in entry:
            total += entry["loss"] * (entry["step"] - before)
            before = entry["step"]
    return total / before
