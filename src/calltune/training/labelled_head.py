"""The LM head, and the copies of states before it, only where a label is.

TRL 1.16's fused LM head (`trl.trainer.utils.add_fused_lm_head`) scores on a GPU the labelled positions alone, elsewhere
all of them. In tool calling the answer is a few percent of the tokens and the head a large part of a small model's
work, so on a CPU most of a step would be thrown away. On every device, shared prefixes then hand on the states before a
label alone, and no padding. The values and gradients are the same.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel

from calltune.runtime.terminal import say
from calltune.training.layout import Laid, layout_of

Places = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
"""Of labels, in [rows, length - 1]: a mask, or their rows and columns, which are known without a look at the device."""


@dataclass(slots=True)
class Wanted:
    """Says which states the head will read: those before the labels at `places`.

    `index` says where they are in the packed row that came with the batch. `are_taken` is set by a backbone that hands
    on no others.
    """

    places: Places
    index: torch.Tensor | None = None
    are_taken: bool = False


WANTED: ContextVar[Wanted | None] = ContextVar("wanted", default=None)
"""Set while the backbone runs for the head alone; a backbone that picks the states itself says so in it."""

_PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def score_labels_only(model: torch.nn.Module) -> None:
    """Let a model to which TRL added its fused LM head be asked at labels alone."""
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    fused = inner.forward
    known = _Known()

    @functools.wraps(fused)
    def forward(*args: Any, **kwargs: Any) -> Any:
        labels = kwargs.get("labels")
        if not kwargs.get("fused_lm_head") or labels is None:
            return fused(*args, **kwargs)
        labelled = labels[:, 1:] != -100
        laid = known.of(kwargs, labels)
        if laid is None:
            is_any, wanted = bool(labelled.any()), Wanted(labelled)
        else:
            wanted = Wanted((laid.tensors["rows"], laid.tensors["columns"]), laid.tensors.get("wanted"))
            is_any = laid.tensors["labels"].numel() > 0
        if not is_any:
            return fused(*args, **kwargs)
        # Pre-shifted labels are scored as they stand, so the kept positions go in as one row.
        kwargs["labels"] = None
        kwargs["shift_labels"] = (labels[:, 1:][labelled] if laid is None else laid.tensors["labels"])[None]
        with _only(inner.base_model, wanted):
            outputs = fused(*args, **kwargs)
        for name in _PER_TOKEN:
            values = getattr(outputs, name)
            if values is not None:
                setattr(outputs, name, _at(wanted.places, values[0], values.new_zeros(labelled.shape)))
        outputs.label_mask = labelled
        return outputs

    inner.forward = forward


class _Known:
    """Labels that came with a batch's layout; of the first batch they are compared with those that are asked for."""

    def __init__(self) -> None:
        self._are_right: bool | None = None

    def of(self, kwargs: dict[str, Any], labels: torch.Tensor) -> Laid | None:
        """Return the layout of what a model is given, if the labels in it can be taken."""
        laid = layout_of(kwargs.get("input_ids"), kwargs.get("attention_mask"))
        if laid is None or "labels" not in laid.tensors or labels.shape != laid.ids.shape or self._are_right is False:
            return None
        if self._are_right is None:
            shifted, (rows, columns) = labels[:, 1:], (laid.tensors["rows"], laid.tensors["columns"])
            is_one = len(rows) == int((shifted != -100).sum())
            self._are_right = is_one and torch.equal(shifted[rows, columns], laid.tensors["labels"])
            if not self._are_right:
                say("the trainer learns other labels than its batches hold; they are looked up in each step")
        return laid if self._are_right else None


def _at(places: Places, values: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
    """Values of labels at their places, [rows, length - 1]."""
    if isinstance(places, tuple):
        return zeros.index_put(tuple(each.to(values.device) for each in places), values)
    return zeros.masked_scatter(places.to(values.device), values)


@contextmanager
def _only(backbone: torch.nn.Module, wanted: Wanted) -> Iterator[None]:
    """Let the backbone hand on, as one row, only the states from which a labelled token is predicted."""

    def gather(module: torch.nn.Module, inputs: Any, outputs: Any) -> Any:
        if not wanted.are_taken:
            outputs.last_hidden_state = outputs.last_hidden_state[:, :-1][wanted.places][None]
        return outputs

    hook = backbone.register_forward_hook(gather)
    token = WANTED.set(wanted)
    try:
        yield
    finally:
        WANTED.reset(token)
        hook.remove()
