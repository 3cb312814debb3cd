"""Tables that go word for word to TRL and PEFT: checked against their dataclasses, laid over our defaults."""

import dataclasses
import enum
import importlib.util
import os
import re
import traceback
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, TorchDynamoPlugin
from peft import LoraConfig
from transformers import TrainingArguments
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.sft_config import SFTConfig

from calltune.config.stage_keys import check_keys, check_losses, plain_kind
from calltune.config.stages import Stage
from calltune.errors import ConfigError

TrlArguments = SFTConfig | DPOConfig | GRPOConfig

_ARGUMENTS = {"sft": SFTConfig, "dpo": DPOConfig, "grpo": GRPOConfig}

# Of what `from_pretrained` takes; the rest would hold for training and not for scanning, evaluation and export.
_MODEL_KEYS = {"attn_implementation", "dtype"}

# transformers 5.23 imports these for an optimiser, when the model is in memory and the first step is due.
_FOR_OPTIMIZER = (
    (r"adamw_torch_[48]bit", "torchao", "gpu"),
    (r"adamw(_bnb)?_8bit|ademamix.*|lion_.*|paged_.*|rmsprop_bnb.*", "bitsandbytes", "qlora"),
)

# One seed, bounded waste after a kill, and only what the device can do; everything else is TRL's own default.
_DEFAULTS: dict[str, Any] = {
    # Every step: a run that was interrupted and one that was not then have the same history.
    "logging_steps": 1,
    # It would tell a loss that is nan as the mean of those before it; `calltune.training.finite` ends the stage.
    "logging_nan_inf_filter": False,
    "save_strategy": "steps",
    "save_steps": 0.2,
    "save_total_limit": 2,
    "report_to": [],
    "disable_tqdm": True,
    "ddp_find_unused_parameters": False,
}


def not_default(arguments: TrlArguments) -> dict[str, Any]:
    """Those of TRL's arguments that are not as TRL has them by default, as plain values."""
    plain = arguments.to_dict()
    return {name: plain[name] for name, default in _defaults(type(arguments)) if str(plain[name]) != str(default)}


def _defaults(kind: type[TrlArguments]) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(kind):
        made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if field.init:
            yield field.name, made.value if isinstance(made, enum.Enum) else made


def check_table(stage: Stage, table: Mapping[str, Any]) -> None:
    """Check the table of a stage, all but the combinations that TRL itself refuses.

    Raises:
        ConfigError: a key that TRL does not have (the nearest is named), one that is calltune's, or a wrong value.
    """
    check_keys(stage, table, kinds_of(_ARGUMENTS[stage]))
    if table.get("packing") and table.get("packing_strategy") == "wrapped":
        raise ConfigError(f"'{stage}.packing_strategy': 'wrapped' cuts answers in two; 'bfd' keeps every row whole")
    if stage == "dpo":
        check_losses(table)


@contextmanager
def refusals_of_trl(stage: str) -> Iterator[None]:
    """Around training: what TRL refuses only when it comes to use it, such as an unknown loss, is one line.

    Raises:
        ConfigError: TRL raised a ValueError or NotImplementedError of its own.
    """
    try:
        yield
    except (ValueError, NotImplementedError) as error:
        *_, innermost = traceback.walk_tb(error.__traceback__)
        if not str(innermost[0].f_globals.get("__name__")).startswith("trl."):
            raise
        raise ConfigError(f"[{stage}]: {str(error).splitlines()[0]}") from error


def trl_arguments(stage: Stage, table: Mapping[str, Any], checkpointing: bool = False, **computed: Any) -> TrlArguments:
    """The stage's own class of TRL: its table word for word, over what calltune computed, over our defaults.

    `model_init_kwargs` is not handed on, since calltune loads the model: `model_keys` reads it.

    Args:
        table: the stage's, which `check_table` has passed.
        checkpointing: whether to compute activations twice instead of keeping them, where the table does not say.

    Raises:
        ConfigError: TRL refuses a value, or two that do not go together.
    """
    kind = _ARGUMENTS[stage]
    cuda, deepspeed = torch.cuda.is_available(), os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    defaults = _DEFAULTS | {
        "bf16": cuda and torch.cuda.is_bf16_supported(),
        # DeepSpeed finds the CPU by itself, and has to be told how its processes speak.
        "use_cpu": not cuda and not deepspeed,
        "ddp_backend": "gloo" if deepspeed and not cuda else None,
    }
    if cuda and torch.cuda.get_device_capability() >= (8, 0):
        # What is still multiplied in float32 under bf16 autocast.
        defaults["tf32"] = True
    if stage == "grpo":
        # Questions are texts, which no worker needs to collate; one answer to each shows how it goes in validation.
        defaults |= {"dataloader_pin_memory": False, "num_generations_eval": 1}
    else:
        defaults |= _loading(table, cuda)
    if given_checkpointing(table) is None:
        # The name changed in transformers 5.2x.
        fields = {field.name for field in dataclasses.fields(kind)}
        name = "activation_checkpointing" if "activation_checkpointing" in fields else "gradient_checkpointing"
        defaults[name] = checkpointing
    given = {key: value for key, value in table.items() if key != "model_init_kwargs"}
    try:
        return kind(**{**defaults, **computed, **given})
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ConfigError(f"[{stage}]: {str(error).splitlines()[0]}") from error


def _loading(table: Mapping[str, Any], cuda: bool) -> dict[str, Any]:
    """How batches come: on a GPU from worker processes, which lay them out; on a CPU training needs the cores."""
    loading: dict[str, Any] = {"dataloader_num_workers": 2 if cuda else 0, "dataloader_pin_memory": cuda}
    given = {**loading, **table}
    if given["dataloader_num_workers"]:
        loading |= {"dataloader_persistent_workers": True, "dataloader_prefetch_factor": 4}
    if given["dataloader_pin_memory"]:
        # Else each copy would wait until the device has done all it was asked for.
        loading["accelerator_config"] = {"non_blocking": True}
    return loading


def require_optimizer(stage: Stage, arguments: TrainingArguments) -> None:
    """Refuse an optimiser whose package is not installed.

    Raises:
        ConfigError: names the package, and the extra that has it.
    """
    optimizer = str(getattr(arguments.optim, "value", arguments.optim))
    for pattern, package, extra in _FOR_OPTIMIZER:
        if re.fullmatch(pattern, optimizer) and importlib.util.find_spec(package) is None:
            raise ConfigError(f"'{stage}.optim': '{optimizer}' needs {package}: pip install 'calltune[{extra}]'")


def given_checkpointing(table: Mapping[str, Any]) -> bool | None:
    """Whether a stage's table asks for gradient checkpointing; None where it leaves the choice to calltune."""
    return table.get("activation_checkpointing", table.get("gradient_checkpointing"))


def model_keys(stage: Stage, table: Mapping[str, Any]) -> dict[str, Any]:
    """A table's `model_init_kwargs` as `from_pretrained` takes them: an attention implementation, and a precision.

    Raises:
        ConfigError: another key, or a precision that is none.
    """
    given = table.get("model_init_kwargs") or {}
    place = f"{stage}.model_init_kwargs"
    if not isinstance(given, dict):
        raise ConfigError(f"'{place}': a table was expected, not {given!r}")
    if others := sorted(given.keys() - _MODEL_KEYS):
        raise ConfigError(f"'{place}.{others[0]}' cannot be set; there are: {', '.join(sorted(_MODEL_KEYS))}")
    keys = dict(given)
    if "dtype" in keys:
        names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        if keys["dtype"] not in names:
            raise ConfigError(f"'{place}.dtype': must be {', '.join(names)}, not {keys['dtype']!r}")
        keys["dtype"] = names[keys["dtype"]]
    return keys


def kinds_of(kind: type) -> dict[str, str]:
    """Return the keys of a dataclass of TRL or PEFT, each with its type where that is a plain one, as text."""
    hints = typing.get_type_hints(kind)
    return {
        field.name: plain_kind(_alternatives(hints[field.name])) for field in dataclasses.fields(kind) if field.init
    }


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type: `int | None` -> (int, NoneType)."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def lora_config(table: Mapping[str, Any]) -> LoraConfig:
    """PEFT's `LoraConfig`: `[lora]` word for word, over our defaults.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    check_keys("lora", table, kinds_of(LoraConfig))
    defaults = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    try:
        return LoraConfig(**{**defaults, **table})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"[lora]: {str(error).splitlines()[0]}") from error


def is_spread(arguments: TrainingArguments) -> bool:
    """Whether the model is spread over processes (FSDP2, DeepSpeed ZeRO), by the arguments or the environment."""
    environment = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    return bool(arguments.fsdp or arguments.deepspeed or any(os.environ.get(key) == "true" for key in environment))


def allow_sharding_on_cpu() -> None:
    """Have the next trainer shard its model without a GPU as it does with one; nothing to do otherwise.

    torch's FSDP2 works on a CPU, but accelerate 1.15 turns it on for accelerators alone. The states that it keeps for
    the whole process are made here, before the trainer's `Accelerator` finds them.
    """
    if os.environ.get("ACCELERATE_USE_FSDP") != "true" or torch.cuda.is_available():
        return
    plugin = FullyShardedDataParallelPlugin()
    state = AcceleratorState(cpu=True, dynamo_plugin=TorchDynamoPlugin(), fsdp_plugin=plugin, _from_accelerator=True)
    PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = plugin
