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


@dataclass(slots=True)
class Wanted:
    """Says which states the head will read: `places` is True there, in [rows, length - 1].

    `are_taken` is set by a backbone that hands on no others.
    """

    places: torch.Tensor
    are_taken: bool = False


WANTED: ContextVar[Wanted | None] = ContextVar("wanted", default=None)
"""Set while the backbone runs for the head alone; a backbone that picks the states itself says so in it."""

_PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def score_labels_only(model: torch.nn.Module) -> None:
    """Let a model to which TRL added its fused LM head be asked at labels alone."""
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    fused = inner.forward

    @functools.wraps(fused)
    def forward(*args: Any, **kwargs: Any) -> Any:
        labels = kwargs.get("labels")
        if not kwargs.get("fused_lm_head") or labels is None:
            return fused(*args, **kwargs)
        labelled = labels[:, 1:] != -100
        if not labelled.any():
            return fused(*args, **kwargs)
        # Pre-shifted labels are scored as they stand, so the kept positions go in as one row.
        kwargs["labels"] = None
        kwargs["shift_labels"] = labels[:, 1:][labelled][None]
        with _only(inner.base_model, labelled):
            outputs = fused(*args, **kwargs)
        for name in _PER_TOKEN:
            values = getattr(outputs, name)
            if values is not None:
                there = labelled.to(values.device)
                setattr(outputs, name, values.new_zeros(labelled.shape).masked_scatter(there, values[0]))
        outputs.label_mask = labelled
        return outputs

    inner.forward = forward


@contextmanager
def _only(backbone: torch.nn.Module, labelled: torch.Tensor) -> Iterator[None]:
    """Let the backbone hand on, as one row, only the states from which a labelled token is predicted."""
    wanted = Wanted(labelled)

    def gather(module: torch.nn.Module, inputs: Any, outputs: Any) -> Any:
        if not wanted.are_taken:
            outputs.last_hidden_state = outputs.last_hidden_state[:, :-1][labelled][None]
        return outputs

    hook = backbone.register_forward_hook(gather)
    token = WANTED.set(wanted)
    try:
        yield
    finally:
        WANTED.reset(token)
        hook.remove()
