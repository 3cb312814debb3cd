"""What a trainer tells while it runs: steps to the terminal, numbers to the tracker, and a stop when asked to."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from calltune.files.json_lines import write_json
from calltune.files.state import STEPS_NOW
from calltune.files.tracking import Tracker
from calltune.runtime import child
from calltune.runtime.processes import processes
from calltune.runtime.stopping import StopRequest
from calltune.runtime.terminal import ProgressBar
from calltune.training.checkpoints import ends_epoch

_SECONDS_BETWEEN_NOTES = 2.0


class Progress(TrainerCallback):
    """Steps and loss to the terminal and, for `watch`, to a file; every number to the tracker."""

    def __init__(self, stage: str, tracker: Tracker) -> None:
        self._stage, self._tracker, self._note, self._tokens_before = stage, tracker, "", 0
        self._bar: ProgressBar | None = None
        self._loss: float | None = None
        self._begun = self._noted = 0.0
        self._begun_from = 0

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar; a resumed run begins where it stopped."""
        # What a killed process had not sent yet; the tracker leaves out what it has.
        for entry in state.log_history:
            self._track(entry)
        # The trainer that draws answers counts the whole stage itself.
        before = [logs.get("num_tokens", 0) for logs in state.log_history if "reward" not in logs]
        self._tokens_before = max(before, default=0)
        self._bar = ProgressBar(self._stage, state.max_steps, state.global_step)
        self._bar.__enter__()
        self._begun, self._begun_from = time.monotonic(), state.global_step

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """One optimiser step."""
        if self._bar:
            self._bar.advance(1, self._note)
        if processes().rank == 0 and time.monotonic() - self._noted >= _SECONDS_BETWEEN_NOTES:
            self._leave_note(Path(str(args.output_dir)), state)

    def _leave_note(self, folder: Path, state: Any) -> None:
        """Write how far training is among the checkpoints, which go when the stage is complete."""
        self._noted = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        note = {"step": state.global_step, "steps": state.max_steps, "begun_from": self._begun_from}
        write_json(folder / STEPS_NOW, {**note, "seconds": round(self._noted - self._begun, 1), "loss": self._loss})

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Keep the loss for the bar and hand every number on."""
        entry = state.log_history[-1]
        if "train_runtime" in entry:
            # The trainer's summary is of this process's steps alone; the manifest's is of all.
            state.log_history.pop()
            return
        # TRL counts tokens from where the process began; the history and the tracker count the whole stage.
        for key in {"num_tokens", "eval_num_tokens"} & entry.keys():
            entry[key] += self._tokens_before
        if "loss" in entry:
            self._loss = float(entry["loss"])
            earned = f", reward {entry['reward']:.3f}" if "reward" in entry else ""
            self._note = f"loss {self._loss:.3f}{earned}"
        self._track(entry)

    def _track(self, entry: Mapping[str, Any]) -> None:
        self._tracker.metrics({key: value for key, value in entry.items() if key != "step"}, step=entry["step"])

    def on_train_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, also when training ended with an error."""
        if self._bar:
            self._bar.__exit__(None, None, None)
            self._bar = None


def told_of_stop(stage: str) -> str:
    """What the user is told when a stage that trains is asked to stop."""
    return (
        f"{stage}: asked to stop: the step under way is finished first, and a checkpoint written; a second signal ends "
        "at once, and the stage then goes on from the checkpoint before"
    )


class StopWhenAsked(TrainerCallback):
    """End training after the step in which any process was asked to, with a checkpoint."""

    def __init__(self, request: StopRequest) -> None:
        self._request, self._stopping = request, False

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Every process must stop after the same step, so they ask each other."""
        if processes().any(self._request.signal is not None):
            # One that was not told itself, on another machine perhaps, may not take the stage for complete; nor may its
            # launcher take its end for a failure.
            self._request.signal = self._request.signal or signal.SIGTERM
            if child.is_child():
                child.tell("asked", str(int(self._request.signal)))
            control.should_save = control.should_training_stop = self._stopping = True

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """The trainer comes here also when it stops within an epoch; what belongs to its end must wait until then."""
        if self._stopping and not ends_epoch(state):
            control.should_evaluate = control.should_save = control.should_log = False
