"""What the run file says of one stage: resolved once, every mistake told, and handed down to all that trains.

What is handed `StageSettings` does not read the run file, so its fields are all that a stage's training hears of it.
"""

import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from calltune.config.data import GroupBy
from calltune.config.guard import GuardConfig
from calltune.config.run_file import Config
from calltune.config.stages import Stage
from calltune.config.training import Tuning
from calltune.errors import ConfigError
from calltune.models.fused import Asked as Fused
from calltune.models.ways import Asked
from calltune.training.arguments import (
    TrlArguments,
    check_table,
    given_checkpointing,
    is_spread,
    lora_config,
    model_keys,
    require_optimizer,
    trl_arguments,
)
from calltune.training.masters import reason_against_masters
from calltune.training.spectrum import read_unfrozen


@dataclass(frozen=True, slots=True)
class StageSettings:
    """How one stage trains, whatever its rows, the model before it, and the folder it writes to."""

    stage: Stage

    base_model: str
    """The run's, not the one that is trained: Spectrum ranks it for every stage."""

    chat_template: str | None
    """A Jinja file that takes the place of the model's own template."""

    thinking: str
    """What `[chat] thinking` says of the modes in which rows are taught."""

    tuning: Tuning

    lora: LoraConfig | None
    """What the adapters are; None where the model's own weights are trained."""

    spectrum_patterns: tuple[str, ...]
    """What `tuning.spectrum_file` names; empty without one."""

    model_keys: Mapping[str, Any]
    """`model_init_kwargs`, as `from_pretrained` takes them."""

    table: Mapping[str, Any]
    """The stage's own table, which TRL's arguments are made of."""

    arguments: TrlArguments
    """TRL's, as far as the run file and this device decide them."""

    tokens_per_batch: int | None
    """The bound of one pass; None where a batch goes through the model whole, as those of drawn answers do."""

    share_prefixes: bool
    """Whether what rows of a batch have in common is computed once, where that is exact."""

    attention: Asked
    """How the attention over it is computed."""

    has_masters: bool
    """Whether weights are bf16, and the optimiser keeps float32 masters of those that are trained."""

    why_no_masters: str | None
    """Why the default is float32 weights where it would be bf16 ones; None where nobody would expect these."""

    fused_kernels: Fused
    """What computes norms, rotary embeddings and MLPs."""

    group_by: GroupBy | None
    """Which rows stand in the same batch; None where chance decides."""

    guard: GuardConfig
    """What the model is asked on the way, and what comes of a collapse."""

    @property
    def max_length(self) -> int | None:
        """The longest row that is trained on, in tokens; None takes the longest that there is."""
        return self.table.get("max_length")

    @property
    def checkpointing(self) -> bool | None:
        """Whether activations are computed twice; None where that depends on the memory they would take."""
        return given_checkpointing(self.table)

    def arguments_with(self, checkpointing: bool = False, **computed: Any) -> TrlArguments:
        """TRL's arguments with what is known only when the rows are read; the run file has the last word.

        Args:
            checkpointing: whether to compute activations twice, where the run file does not say.
            computed: such as `output_dir`, `max_length` and `eval_strategy`.
        """
        seed, bf16 = self.arguments.seed, self.arguments.bf16
        return trl_arguments(self.stage, self.table, checkpointing, seed=seed, bf16=bf16, **computed)


def stage_settings(config: Config, stage: Stage) -> StageSettings:
    """Resolve a stage, and tell every mistake of the run file that can be told without rows or a model.

    It comes before any trainer is made: transformers' arguments begin accelerate's state of this process anew.

    Raises:
        ConfigError: the first mistake: a key or value that TRL or PEFT does not take, `[lora]` without a method that
            reads it, a Spectrum file that cannot be read, or a device or package that the method lacks.
    """
    table, tuning = getattr(config, stage), config.tuning.of(stage)
    asked = config.tuning.precision
    with config.naming_file():
        check_table(stage, table)
        keys = model_keys(stage, table)
        # bf16 weights multiply in bf16 on a CPU too, where that is not the default.
        in_bf16 = {"bf16": True} if asked == "bf16-masters" and not table.get("fp16") else {}
        arguments = trl_arguments(stage, table, seed=config.seed, **in_bf16)
        require_optimizer(stage, arguments)
        if config.guard.keeps_best and arguments.load_best_model_at_end:
            raise ConfigError(
                f"guard.keep and guard.on_collapse, and {stage}.load_best_model_at_end, each say which checkpoint is "
                "kept; leave 'best' or load_best_model_at_end out"
            )
        against_masters = reason_against_masters(arguments, tuning, keys)
        if asked == "bf16-masters" and against_masters:
            raise ConfigError(f"tuning.precision 'bf16-masters' of {stage}: {against_masters}")
        _require_fused(config.tuning.fused_kernels, is_spread(arguments))
        if config.lora and not any(config.tuning.of(each).has_adapters for each in (*config.stages, stage)):
            raise ConfigError(f"[lora] is given, but tuning.method is '{tuning.method}'")
        lora = lora_config(config.lora) if tuning.has_adapters else None
    is_default = asked == "auto" and torch.cuda.is_available() and not arguments.use_cpu
    patterns = read_unfrozen(Path(tuning.spectrum_file)) if tuning.spectrum_file else ()
    if tuning.method == "qlora":
        _require_bitsandbytes()
    if config.tuning.attention in ("varlen", "flex") and not torch.cuda.is_available():
        raise ConfigError(f"tuning.attention: '{config.tuning.attention}' needs a GPU, and this machine has none")
    return StageSettings(
        stage=stage,
        base_model=config.model,
        chat_template=config.chat_template,
        thinking=config.chat.thinking,
        tuning=tuning,
        lora=lora,
        spectrum_patterns=tuple(patterns),
        model_keys=keys,
        table=table,
        arguments=arguments,
        # The passes are those of rows that are known; what is drawn goes through the model in TRL's batches.
        tokens_per_batch=None if stage == "grpo" else config.launch.tokens_per_batch,
        share_prefixes=config.tuning.share_prefixes,
        attention=config.tuning.attention,
        has_masters=against_masters is None and (asked == "bf16-masters" or is_default),
        why_no_masters=against_masters if is_default else None,
        fused_kernels=config.tuning.fused_kernels,
        group_by=config.data.group_by,
        guard=config.guard,
    )


def _require_fused(asked: Fused, is_spread: bool) -> None:
    """Refuse a kind of kernels that a run file asks for and this device does not have.

    Raises:
        ConfigError: names the device, the package, or the compiler that is missing.
    """
    if asked in ("auto", "off"):
        return
    if is_spread:
        raise ConfigError(f"tuning.fused_kernels: '{asked}' has not been tested with FSDP and DeepSpeed; set 'off'")
    if asked == "liger" and not torch.cuda.is_available():
        raise ConfigError("tuning.fused_kernels: 'liger' needs a GPU, and this machine has none")
    if asked == "liger" and importlib.util.find_spec("liger_kernel") is None:
        raise ConfigError("tuning.fused_kernels: 'liger' needs liger-kernel: pip install 'calltune[gpu]'")
    if asked == "compile" and not torch.cuda.is_available() and shutil.which("g++") is None:
        raise ConfigError("tuning.fused_kernels: 'compile' needs a C++ compiler on a CPU, and there is no g++")


def _require_bitsandbytes() -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("tuning.method 'qlora' needs bitsandbytes: pip install 'calltune[qlora]'")
    import bitsandbytes

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in getattr(bitsandbytes, "supported_torch_devices", {"cuda"}):
        raise ConfigError(
            f"tuning.method 'qlora': bitsandbytes {bitsandbytes.__version__} does not support this device, {device}"
        )
