"""bf16 weights with float32 masters: passes are computed in bf16, and small updates are not rounded away.

AdamW's update of a weight is often less than half of what bf16 can tell apart there, 2^-9 of the weight, and would be
lost in every step. So the optimiser that transformers makes is given float32 copies, the masters, in the place of the
weights: before a step it takes over their gradients, and after it each weight is its master, rounded once. All this
hangs on torch's own hooks of one optimiser; trainer, accelerate and schedulers see it as it was.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from calltune.config.training import Tuning
from calltune.errors import ConfigError
from calltune.runtime.processes import processes
from calltune.training.arguments import is_spread

MASTERS = "masters"
"""The key in an optimiser's state under which the masters are kept, by the names of the weights."""

_OPTIMIZER_FILE = "optimizer.pt"

# They move what is in their groups at a step and at no other time, which is all that masters ask of them.
_OPTIMIZERS = ("adamw", "paged_adamw", "adafactor", "adagrad", "ademamix", "paged_ademamix", "rmsprop", "sgd")
_OPTIMIZERS += ("lion", "paged_lion", "stable_adamw")


def reason_against_masters(arguments: TrainingArguments, tuning: Tuning, model_keys: Mapping[str, Any]) -> str | None:
    """Say why a stage's weights cannot be bf16 with float32 masters; None where they can."""
    optimizer = str(getattr(arguments.optim, "value", arguments.optim))
    problems = {
        "the weights beside adapters are not trained, and adapters are float32": tuning.has_adapters,
        "model_init_kwargs.dtype names another precision": "dtype" in model_keys,
        "matrices are not multiplied in bf16": not arguments.bf16,
        "FSDP and DeepSpeed keep a model's precisions themselves": is_spread(arguments),
        f"the optimiser '{optimizer}' keeps or moves weights outside of its steps": not optimizer.startswith(
            _OPTIMIZERS
        ),
        "save_only_model leaves the optimiser, which holds the masters, out of checkpoints": arguments.save_only_model,
    }
    return next((problem for problem, is_there in problems.items() if is_there), None)


class Masters:
    """The float32 masters of one trainer's weights, and the hooks that keep them and the weights together.

    `of` maps the names of trained weights to their masters. Two are one tensor where a weight stays float32, as the
    model's own code demands it of some.
    """

    def __init__(self, trainer: Any, adds_up: bool) -> None:
        """Make a trainer's model bf16, and its optimiser one over the float32 weights that the model had until now.

        Call it before the model is wrapped.

        Args:
            adds_up: whether several backward passes make a step's gradients. They are then summed in float32, but for
                several processes: DistributedDataParallel takes gradients in the precision of the weights alone.
        """
        model, in_float32 = trainer.model, adds_up and processes().count == 1
        self._weights: dict[str, torch.nn.Parameter] = {}
        self.of: dict[str, torch.Tensor] = {}
        for name, weight in model.named_parameters():
            master = weight.data
            if weight.is_floating_point() and not _stays_float32(model, name):
                weight.data = master.to(torch.bfloat16)
            if weight.requires_grad:
                self._weights[name], self.of[name] = weight, master
                if in_float32 and weight.dtype != torch.float32:
                    weight.grad_dtype = torch.float32
        self._move(trainer.create_optimizer())

    def _move(self, optimizer: torch.optim.Optimizer) -> None:
        master_of = {weight: self.of[name] for name, weight in self._moved()}
        for group in optimizer.param_groups:
            group["params"] = [master_of.get(weight, weight) for weight in group["params"]]
        optimizer.register_step_pre_hook(self._take_gradients)
        optimizer.register_step_post_hook(self._round)
        optimizer.register_state_dict_post_hook(self._save)
        optimizer.register_load_state_dict_pre_hook(self._load)
        forget = optimizer.zero_grad

        @functools.wraps(forget)
        def zero_grad(set_to_none: bool = True) -> None:
            forget(set_to_none)
            for _, weight in self._moved():
                weight.grad = None

        optimizer.zero_grad = zero_grad  # type: ignore[method-assign]

    def _moved(self) -> list[tuple[str, torch.nn.Parameter]]:
        """The weights that are not their own masters."""
        return [(name, weight) for name, weight in self._weights.items() if weight.dtype != torch.float32]

    def _take_gradients(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for name, weight in self._moved():
            # One at a time, so that no second copy of all gradients is there.
            self.of[name].grad, weight.grad = None if weight.grad is None else weight.grad.float(), None

    @torch.no_grad()
    def _round(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for name, weight in self._moved():
            weight.copy_(self.of[name])
            self.of[name].grad = None

    def _save(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        state[MASTERS] = dict(self.of)

    @torch.no_grad()
    def _load(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        for name, master in state[MASTERS].items():
            self.of[name].copy_(master)
        self._round(optimizer, None, None)
        return {key: value for key, value in state.items() if key != MASTERS}


def _stays_float32(model: Any, name: str) -> bool:
    """Whether a model's own code keeps a weight in float32 when it is loaded in bf16, such as a router's biases."""
    kept = [
        *(getattr(model, "_keep_in_fp32_modules", None) or ()),
        *(getattr(model, "_keep_in_fp32_modules_strict", None) or ()),
    ]
    return any(f".{part}." in f".{name}." for part in kept)


def stored_masters(checkpoint: Path) -> dict[str, torch.Tensor] | None:
    """The masters in a checkpoint, read from the disk as they are used; None where it was trained without."""
    file = checkpoint / _OPTIMIZER_FILE
    if not file.is_file():
        return None
    return torch.load(file, map_location="cpu", weights_only=True, mmap=True).get(MASTERS)


def require_same_precision(checkpoint: Path | None, has_masters: bool, stage: str) -> None:
    """Refuse to go on from a checkpoint in another precision than it was trained in.

    Raises:
        ConfigError: it holds masters and weights are to be float32 alone, or the other way round.
    """
    if checkpoint is None or (stored_masters(checkpoint) is not None) == has_masters:
        return
    was, asked = ("float32", "bf16-masters") if has_masters else ("bf16-masters", "float32")
    raise ConfigError(
        f"{stage}: {checkpoint.name} was trained with precision '{was}', and here it would go on with '{asked}'; set "
        f'tuning.precision = "{was}", or remove {checkpoint.parent}'
    )
