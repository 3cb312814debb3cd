"""Say what jobs need beside the image: packages that the run file asks for, and variables that a secret must hold."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.images import device_of
from calltune.launch.sagemaker.request import account

_PINS = Path(__file__).parent / "requirements.txt"

# These are pinned, and installed only where the run file needs them.
_ON_DEMAND = {"mlflow", "sagemaker-mlflow", "bitsandbytes", "openai", "liger-kernel", "torchao"}

# https://docs.aws.amazon.com/deep-learning-containers, PyTorch 2.12: "The GPU images bundle the full stack".
_IN_IMAGE = {"gpu": {"deepspeed", "flash-attn"}, "cpu": set[str]()}

# transformers 5.23 imports these for an optimiser (`trainer_optimizer.py`).
_FOR_OPTIMIZER = (
    (r"adamw(_bnb)?_8bit|ademamix.*|lion_.*|paged_.*|rmsprop_bnb.*", "bitsandbytes", "bitsandbytes"),
    (r"galore_.*", "galore-torch", "galore_torch"),
    (r"(ada)?lomo", "lomo-optim", "lomo_optim"),
    (r"grokadamw", "grokadamw", "grokadamw"),
    (r"schedule_free_.*", "schedulefree", "schedulefree"),
    (r"apollo_.*", "apollo-torch", "apollo_torch"),
    (r"stable_adamw", "torch-optimi", "optimi"),
    (r"adamw_torch_[48]bit", "torchao", "torchao"),
)


@dataclass(frozen=True, slots=True)
class Need:
    """Names a package as pip and as Python know it, and the run file's key that asks for it."""

    package: str
    module: str
    key: str


def needs(config: Config) -> list[Need]:
    """Return the packages that the run file asks for beyond those that every job has."""
    asked = [Need("sagemaker-mlflow", "mlflow", "launch.sagemaker.mlflow")] if account(config).mlflow else []
    if config.launch.strategy.startswith("zero"):
        asked.append(Need("deepspeed", "deepspeed", "launch.strategy"))
    if config.stages and config.tuning.fused_kernels == "liger":
        asked.append(Need("liger-kernel", "liger_kernel", "tuning.fused_kernels"))
    for stage in config.stages:
        if config.tuning.of(stage).method == "qlora":
            asked.append(Need("bitsandbytes", "bitsandbytes", "tuning.method"))
        asked += _of_table(stage, getattr(config, stage))
    if not config.evaluate.benchmarks:
        return asked
    if config.evaluate.backend in ("openai", "vllm"):
        asked.append(Need(config.evaluate.backend, config.evaluate.backend, "evaluate.backend"))
    for where, table in _tables(config.evaluate.model_dump(mode="json"), "evaluate"):
        if "base_url" in table:
            asked.append(Need("openai", "openai", f"{where}.base_url"))
    return asked


def variables(config: Config) -> dict[str, str]:
    """Return the environment variables that hold keys of servers, with the run file's keys that name them."""
    if not config.evaluate.benchmarks:
        return {}
    tables = _tables(config.evaluate.model_dump(mode="json"), "evaluate")
    return {str(name): f"{where}.api_key_env" for where, table in tables if (name := table.get("api_key_env"))}


def pins(config: Config) -> list[str]:
    """Return what the jobs install beside the image's torch, each with its exact version.

    Raises:
        ConfigError: the run file needs a package or a variable that the jobs would not have, or names one twice.
    """
    wanted = account(config)
    pinned = {package_of(line): line for line in _PINS.read_text(encoding="utf-8").splitlines() if line}
    own = {package_of(line): line for line in wanted.requirements}
    for name in own:
        if name == "torch":
            raise ConfigError("'launch.sagemaker.requirements': torch comes with the image; name another 'image'")
        if name in pinned and name not in _ON_DEMAND:
            raise ConfigError(f"'launch.sagemaker.requirements': calltune pins {pinned[name]} itself")
    asked = needs(config)
    has = {*pinned, *own, *(() if wanted.image else _IN_IMAGE[device_of(wanted)])}
    for need in asked:
        # An image of one's own may have it; its container looks before it does anything else.
        if need.package not in has and wanted.image is None:
            raise ConfigError(
                f"'{need.key}' needs the package '{need.package}', which the jobs do not have; add it to "
                "'launch.sagemaker.requirements', or name an 'image' that has it"
            )
    for name, key in variables(config).items():
        if wanted.secret is None:
            raise ConfigError(f"'{key}': a job has {name} only from the secret that 'launch.sagemaker.secret' names")
    demanded = {need.package for need in asked} | ({"mlflow"} if wanted.mlflow else set())
    ours = [line for name, line in pinned.items() if name not in own and (name not in _ON_DEMAND or name in demanded)]
    return [*ours, *own.values()]


def package_of(line: str) -> str:
    """Return the name in a requirement, written as pip compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=]", line)[0]).lower()


def _of_table(stage: str, table: Mapping[str, Any]) -> Iterator[Need]:
    """Yield what TRL's and transformers' keys of a stage need."""
    for pattern, package, module in _FOR_OPTIMIZER:
        if re.fullmatch(pattern, str(table.get("optim", ""))):
            yield Need(package, module, f"{stage}.optim")
    if table.get("use_liger_kernel"):
        yield Need("liger-kernel", "liger_kernel", f"{stage}.use_liger_kernel")
    keys = table.get("model_init_kwargs")
    attention = str(keys.get("attn_implementation", "")) if isinstance(keys, dict) else ""
    if attention == "flash_attention_2":
        yield Need("flash-attn", "flash_attn", f"{stage}.model_init_kwargs.attn_implementation")
    if "/" in attention:
        yield Need("kernels", "kernels", f"{stage}.model_init_kwargs.attn_implementation")


def _tables(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a table and all tables in it, each with its key."""
    if isinstance(value, Mapping):
        yield where, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _tables(inner, f"{where}.{key}")
