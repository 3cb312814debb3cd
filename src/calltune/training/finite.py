"""Finite or an error: the first loss, gradient or weight that is no number ends a stage, in one line.

transformers puts the mean of the losses before it in the place of a loss that is nan, and then trains on; here that is
off. What is looked at costs one look at the device for each optimiser step, and one at the weights for each checkpoint.
All processes stop at the same step, before an optimiser has moved anything, so no checkpoint holds what came of it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainingArguments

from calltune.calling.chat import Chat
from calltune.errors import NotFiniteError
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.training.recipe import FittedRows, whole_texts

_ROWS_TOLD = 4
_MOST_SKIPPED = 40
"""Steps in succession that fp16's loss scaling may skip; halved so often, its scale is far below any gradient."""

RowNames = Callable[[Iterable[Sequence[int]]], list[str]]
"""From the tokens of rows, as they are trained on, to the rows' ids; rows that are not known are left out."""


def row_names(chat: Chat, *fitted: FittedRows) -> RowNames:
    """Names of a stage's rows, and of its validation rows. They are tokenized when the first name is asked for."""

    def names(rows: Iterable[Sequence[int]]) -> list[str]:
        known: dict[tuple[int, ...], str] = {}
        for part in fitted:
            for row_id, text in zip(part.ids, part.texts, strict=True):
                for ids in chat.tokenizer(whole_texts(text, chat.ends)).input_ids:
                    known.setdefault(tuple(ids), row_id)
        return list(dict.fromkeys(known[tuple(row)] for row in rows if tuple(row) in known))

    return names


def no_names(rows: Iterable[Sequence[int]]) -> list[str]:
    """For rows that nobody knows by name."""
    return []


def _kept(inputs: Any) -> dict[str, Any]:
    """What a batch's rows are told by: their tokens, or their ids where a trainer is handed questions."""
    if isinstance(inputs, list):
        return {"id": [row["id"] for row in inputs]}
    kept = ("input_ids", "attention_mask", "position_ids")
    return {key: inputs[key] for key in kept if inputs.get(key) is not None}


def token_rows(batch: Mapping[str, Any]) -> list[list[int]]:
    """The rows of a trainer's batch without padding; packed ones one by one."""
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    if mask is not None:
        return [row[seen].tolist() for row, seen in zip(ids.cpu(), mask.cpu().bool(), strict=True)]
    if "position_ids" not in batch:
        return ids.tolist()
    places, flat = batch["position_ids"].flatten().cpu(), ids.flatten().tolist()
    starts = (places == 0).nonzero().flatten().tolist()
    return [flat[start:stop] for start, stop in zip(starts, [*starts[1:], len(flat)], strict=True)]


def not_finite_weight(model: torch.nn.Module, trained_only: bool = False) -> str:
    """The name of the first weight that holds nan or an infinity, or an empty string.

    Of a model spread over processes each one looks at its own part; packed 4-bit weights are left out.
    """
    for name, parameter in model.named_parameters():
        if trained_only and not parameter.requires_grad:
            continue
        # FSDP2 keeps its part in a DTensor, ZeRO-3 beside an empty tensor.
        part: Any = getattr(parameter, "ds_tensor", parameter).detach()
        part = part.to_local() if hasattr(part, "to_local") else part
        # In one pass and without a second tensor; nan is the largest and the smallest of its tensor.
        if part.is_floating_point() and part.numel() and not torch.stack(torch.aminmax(part)).isfinite().all():
            return name
    return ""


def require_finite_weights(model: torch.nn.Module, whose: str) -> None:
    """Refuse a model with a weight that is no number.

    Raises:
        NotFiniteError: names the first such weight, after `whose` it is.
    """
    if name := not_finite_weight(model):
        raise NotFiniteError(f"{whose}: its weights are not finite: '{name}' holds nan or an infinity")


class FiniteSteps(TrainerCallback):
    """Ends training at the first number that is none; it looks at every loss and gradient norm of one trainer."""

    def __init__(self, trainer: Any, stage: str, names: RowNames = no_names) -> None:
        """Watch a TRL trainer, whose steps are otherwise as they were.

        Args:
            stage: what the message begins with.
            names: of rows, for the message.
        """
        self._trainer, self._stage, self._names = trainer, stage, names
        self._losses: list[torch.Tensor] = []
        self._batches: list[Mapping[str, Any]] = []
        self._norm: Any = None
        self._rate = 0.0
        self._num_skipped = self._num_skipped_in_a_row = 0
        self._left_out: set[str] = set()
        self._watched: tuple[float, list[str]] | None = None
        step, clip, predict = trainer.training_step, trainer.accelerator.clip_grad_norm_, trainer.prediction_step

        def training_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
            self._batches.append(_kept(inputs))
            self._losses.append(step(model, inputs, *args, **kwargs))
            return self._losses[-1]

        def clip_grad_norm(*args: Any, **kwargs: Any) -> Any:
            self._norm = clip(*args, **kwargs)
            return self._norm

        def prediction_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            found = predict(model, inputs, *args, **kwargs)
            if self._watched is None and found[0] is not None and not (loss := found[0].mean()).isfinite():
                self._watched = float(loss), self._named([_kept(inputs)])
            return found

        trainer.training_step, trainer.accelerator.clip_grad_norm_ = training_step, clip_grad_norm
        trainer.prediction_step = prediction_step

    def on_pre_optimizer_step(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the weights move: every loss of this step, on all processes, and the norm of its gradients."""
        losses = torch.stack([loss.detach().float().mean() for loss in self._losses])
        norm, self._rate = _as_number(self._norm), self._trainer.optimizer.param_groups[0]["lr"]
        is_bad = not bool(losses.isfinite().all())
        if norm is not None and not math.isfinite(norm) and not is_bad:
            is_bad = not self._is_skipped()
        elif norm is not None:
            self._num_skipped_in_a_row = 0
        if processes().any(is_bad):
            raise self._step_error(losses.tolist(), norm, state)
        self._losses.clear()
        self._batches.clear()

    def _is_skipped(self) -> bool:
        """Whether fp16's loss scaling skips this step, and lowers its scale until gradients fit again."""
        self._num_skipped_in_a_row += 1
        self._num_skipped += 1
        return self._trainer.accelerator.scaler is not None and self._num_skipped_in_a_row <= _MOST_SKIPPED

    def _step_error(self, losses: Sequence[float], norm: float | None, state: Any) -> NotFiniteError:
        bad = [number for number, loss in enumerate(losses) if not math.isfinite(loss)]
        what = f"the loss is {losses[bad[0]]}" if bad else ""
        if not bad and norm is not None and not math.isfinite(norm):
            what = f"the gradient norm is {norm}"
        batches = [self._batches[number] for number in bad] if bad else self._batches
        rows = self._named(batches) if what else []
        weight = not_finite_weight(self._trainer.model)
        # By rank: a process whose own numbers are finite has nothing to tell.
        told = [each for each in gather_object([(what, rows, weight)]) if each[0]]
        rows = list(dict.fromkeys(row for _, theirs, _ in told for row in theirs))
        weight = next((name for _, _, name in told if name), "")
        return NotFiniteError(
            f"{self._place(state.global_step + 1)}: {told[0][0]}{_rows_told(rows)}; {self._hint(weight, state)}"
        )

    def _named(self, batches: Sequence[Mapping[str, Any]]) -> list[str]:
        """The ids of the rows of batches; questions that are answered in the step bring theirs along."""
        known = [name for batch in batches for name in batch.get("id", ())]
        rows = (row for batch in batches if "input_ids" in batch for row in token_rows(batch))
        return list(dict.fromkeys(known)) or self._names(rows)

    def _hint(self, weight: str, state: Any) -> str:
        """What to look at."""
        if state.global_step == 0:
            base = getattr(self._trainer.model.config, "_name_or_path", "")
            found = f", of which '{weight}' is not finite" if weight else ""
            return f"no step was taken yet: look at the weights of {base or 'the base'}{found}, and at these rows"
        if weight:
            return f"the steps before it made '{weight}' not finite: lower learning_rate ({self._rate:.3g} here)"
        return f"look at learning_rate ({self._rate:.3g} here), at these rows, and at the precision"

    def _place(self, step: int) -> str:
        return f"{self._stage}: step {step}"

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Stop at a validation loss; leave what decides nothing, and is no number, out of the history and say so."""
        entry = state.log_history[-1]
        for key in [key for key, value in entry.items() if value is None]:
            # TRL's mean of no numbers.
            del entry[key]
        if "eval_loss" in entry:
            self._look_at_validation(entry["eval_loss"], state)
        for key in [key for key, value in entry.items() if isinstance(value, float) and not math.isfinite(value)]:
            what = f"{self._place(entry['step'])}: '{key}' is {entry[key]}"
            if key == "loss":
                raise NotFiniteError(f"{what}; {self._hint('', state)}")
            if key not in self._left_out:
                say(f"warning: {what}; such values of it are left out of the history")
            self._left_out.add(key)
            del entry[key]

    def _look_at_validation(self, loss: float, state: Any) -> None:
        found, self._watched = self._watched, None
        if not processes().any(not math.isfinite(loss) or found is not None):
            return
        told = [each for each in gather_object([found]) if each is not None]
        rows = list(dict.fromkeys(row for _, theirs in told for row in theirs))
        what = f"the validation loss is {told[0][0] if told else loss}{_rows_told(rows)}"
        raise NotFiniteError(f"{self._place(state.global_step)}: {what}; {self._hint('', state)}")

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Before a checkpoint is sealed: the weights that were trained."""
        weight = not_finite_weight(self._trainer.model, trained_only=True)
        if not processes().any(bool(weight)):
            return
        named = next(name for name in gather_object([weight]) if name)
        raise NotFiniteError(
            f"{self._place(state.global_step)}: the step made weights that are not finite: '{named}'; look at "
            f"learning_rate ({self._rate:.3g} here)"
        )

    def on_train_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell of the steps that were none."""
        if self._num_skipped:
            say(f"{self._stage}: {self._num_skipped} steps were skipped, as their gradients overflowed fp16")


def require_finite_reference(
    values: Sequence[Sequence[float]], rows: Callable[[int], Sequence[int]], names: RowNames, model: Any
) -> None:
    """Refuse a reference's log-probabilities when one is no number.

    Args:
        values: of the chosen answers, and of the rejected ones.
        rows: from a pair's number to the tokens of its chosen row.
        model: whose they are.

    Raises:
        NotFiniteError: names the first such pair.
    """
    for kind, column in zip(("chosen", "rejected"), values, strict=True):
        bad = next((number for number, value in enumerate(column) if not math.isfinite(value)), None)
        if bad is not None:
            base = getattr(model.config, "_name_or_path", "") or "the model"
            raise NotFiniteError(
                f"dpo: the reference's log-probability of the {kind} answer is {column[bad]}"
                f"{_rows_told(names([rows(bad)]))}; look at the weights of {base}, and at this row"
            )


def _rows_told(rows: Sequence[str]) -> str:
    if not rows:
        return ""
    more = len(rows) - _ROWS_TOLD
    told = ", ".join(rows[:_ROWS_TOLD])
    return f" (row{'s' * (len(rows) > 1)} {told}{f' and {more:,} more' if more > 0 else ''})"


def _as_number(norm: Any) -> float | None:
    """A gradient norm as accelerate gives it: a tensor, which may be spread over processes, a number, or none."""
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    return None if norm is None else float(norm)
