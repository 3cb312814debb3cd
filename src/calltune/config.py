"""The run file: TOML in, one frozen `Config` out, every mistake one line.

`[sft]`, `[dpo]` and `[lora]` are kept as they stand and go word for word to TRL's `SFTConfig`, `DPOConfig` and PEFT's
`LoraConfig`; the stage that reads them checks their keys. A source's or benchmark's own keys are checked by that
module's `Settings`, through `parse_options`.
"""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic

from calltune.errors import ConfigError
from calltune.options import Table, parse_options
from calltune.sagemaker_table import SageMakerConfig

Stage = Literal["sft", "dpo"]


class Entry(pydantic.BaseModel):
    """One entry of a family (a source, a benchmark): its module's name, and that module's own keys."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)

    name: str
    """A module of the family, or `package.module` for one of your own. `{run}` in a value is the run's folder."""

    label: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """What its results are called, where one module is used twice; by default its name."""

    @property
    def title(self) -> str:
        """The label, or the name."""
        return self.label or self.name

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside `name`, to be checked by the module's `Settings`."""
        return dict(self.model_extra or {})


class DataConfig(Table):
    """`[data]`: where rows come from and how they are split."""

    sources: Annotated[tuple[Entry, ...], pydantic.Field(min_length=1)]
    """`[[data.sources]]`, read in order."""

    validation_fraction: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.02
    """Share of questions held back from training to watch its loss; a question is never on both sides."""


class TuningConfig(Table):
    """`[tuning]`: which weights are trained, in both stages."""

    method: Literal["full", "lora"] = "full"


class EvaluateConfig(Table):
    """`[evaluate]`: what is asked of which checkpoint."""

    benchmarks: tuple[Entry, ...] = ()
    """`[[evaluate.benchmarks]]`, asked in order."""

    checkpoints: tuple[Literal["base", "sft", "dpo"], ...] = ("base", "sft", "dpo")
    """Those that exist are evaluated."""

    backend: str = "hf"
    """The module that runs the model."""

    backend_options: dict[str, Any] = pydantic.Field(default_factory=dict)
    """`[evaluate.backend_options]`: the backend's own keys, checked by its module's `Settings`."""

    tokens_per_batch: Annotated[int, pydantic.Field(ge=256)] = 16_384
    """Upper bound of tokens, padding included, in one forward pass; lower it when memory runs out."""


class TrackingConfig(Table):
    """`[tracking]`: MLflow."""

    mlflow: bool = True
    uri: str | None = None
    """Default: a sqlite file, `mlflow.db`, beside the run's folder."""

    experiment: str = "calltune"


class LaunchConfig(Table):
    """`[launch]`: how many processes train and evaluate, each with its own GPU, and how they share the work."""

    processes: Annotated[int, pydantic.Field(ge=1)] = 1
    """On each machine."""

    machines: Annotated[int, pydantic.Field(ge=1)] = 1
    """All of them see the run's folder; calltune is started on each, with its `launch.machine_rank`."""

    machine_rank: Annotated[int, pydantic.Field(ge=0)] = 0
    main_address: str | None = None
    """Where the other machines reach machine 0."""

    main_port: Annotated[int, pydantic.Field(ge=1, le=65535)] = 29500
    """Used with more than one machine; on one machine a free port is taken."""

    strategy: Literal["ddp", "fsdp2", "zero1", "zero2", "zero3"] = "ddp"
    """`ddp` keeps all on every GPU; `fsdp2` (torch) and `zero1` to `zero3` (DeepSpeed) spread it over them."""

    sagemaker: SageMakerConfig | None = None
    """`[launch.sagemaker]`, for `--on sagemaker`."""

    @pydantic.model_validator(mode="after")
    def _machines_fit(self) -> Self:
        if self.machine_rank >= self.machines:
            raise ValueError(f"machine_rank {self.machine_rank} needs more than {self.machines} machines")
        if self.machines > 1 and self.main_address is None:
            raise ValueError("with several machines 'main_address' must be given")
        return self


class Config(Table):
    """A whole run file."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Names the run's folder and its MLflow runs."""

    model: Annotated[str, pydantic.Field(min_length=1)]
    """A Hub id or a local folder, as `from_pretrained` takes it."""

    output: str = "runs"
    seed: int = 0
    stages: tuple[Stage, ...] = ("sft", "dpo")
    data: DataConfig
    tuning: TuningConfig = TuningConfig()
    lora: dict[str, Any] = pydantic.Field(default_factory=dict)
    sft: dict[str, Any] = pydantic.Field(default_factory=dict)
    dpo: dict[str, Any] = pydantic.Field(default_factory=dict)
    evaluate: EvaluateConfig = EvaluateConfig()
    launch: LaunchConfig = LaunchConfig()
    tracking: TrackingConfig = TrackingConfig()

    @pydantic.model_validator(mode="after")
    def _titles_differ(self) -> Self:
        titles = [entry.title for entry in self.evaluate.benchmarks]
        if len(set(titles)) < len(titles):
            raise ValueError("two of [[evaluate.benchmarks]] have one name; give one of them a 'label'")
        return self

    @pydantic.field_validator("stages")
    @classmethod
    def _in_order(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if stages not in (("sft", "dpo"), ("sft",), ("dpo",), ()):
            raise ValueError('must be ["sft", "dpo"], ["sft"], ["dpo"] or []')
        return stages

    @property
    def run_folder(self) -> Path:
        """Where everything that this run makes is written."""
        return Path(self.output) / self.name

    def checkpoint_folder(self, checkpoint: str) -> str:
        """What `from_pretrained` takes for `base`, `sft` or `dpo`."""
        return self.model if checkpoint == "base" else str(self.run_folder / checkpoint)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a run file, lay `key.path=value` overrides over it, and check it.

    TOML is for hands; `.json` is what calltune writes of a checked run file, such as `config.json` in a run's folder.

    Raises:
        ConfigError: the file is missing, is not TOML, or a key or value is wrong; names the file and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such run file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder, a run file was expected") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    for override in overrides:
        _apply_override(table, override)
    return parse_options(Config, table, str(path))


def _apply_override(table: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"override '{override}': must be key.path=value")
    *parents, last = path.strip().split(".")
    place: Any = table
    for part in parents:
        if isinstance(place, dict):
            place = place.setdefault(part, {})
        elif isinstance(place, list) and part.isdigit() and int(part) < len(place):
            place = place[int(part)]
        else:
            raise ConfigError(f"override '{override}': there is no '{part}' to go into")
    if isinstance(place, list) and last.isdigit() and int(last) < len(place):
        place[int(last)] = _toml_value(text)
    elif isinstance(place, dict):
        place[last] = _toml_value(text)
    else:
        raise ConfigError(f"override '{override}': there is no '{last}' to set")


def _toml_value(text: str) -> Any:
    # The shell takes the quotes of "a string" away, so what is not TOML is a string.
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
