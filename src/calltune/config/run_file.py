"""The run file: it is written in TOML, becomes one frozen `Config`, and every mistake in it is told in one line."""

import json
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic

from calltune.config.chat import THINKING_SUFFIX, ChatConfig
from calltune.config.data import DataConfig
from calltune.config.evaluation import EvaluateConfig
from calltune.config.gate import GateConfig
from calltune.config.guard import GuardConfig
from calltune.config.launch import LaunchConfig
from calltune.config.outcome import ExportConfig, PlanConfig, ReportConfig, TrackingConfig
from calltune.config.secrets import conceal
from calltune.config.stage_keys import check_tables
from calltune.config.stages import STAGES, Stage, checkpoint_names, stage_of
from calltune.config.table import Table, parse_options, unknown_key
from calltune.config.training import MineConfig, TuningConfig
from calltune.errors import ConfigError, not_finite_key, special_file, special_key


class Config(Table):
    """A whole run file."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """The name of the run's folder and of its MLflow runs."""

    model: Annotated[str, pydantic.Field(min_length=1)]
    """A Hub id or a local folder, as `from_pretrained` takes it, or a GGUF file."""

    chat_template: str | None = None
    """A Jinja file that writes conversations, for a model that has no chat template, or in place of its own; or
    "hermes", which writes tools as Hermes does, between the marks of turns that the model's own template has."""

    output: str = "runs"
    seed: int = 0
    stages: tuple[Stage, ...] = ("sft", "dpo")
    chat: ChatConfig = ChatConfig()
    data: DataConfig
    tuning: TuningConfig = TuningConfig()
    lora: dict[str, Any] = pydantic.Field(default_factory=dict)
    sft: dict[str, Any] = pydantic.Field(default_factory=dict)
    mine: MineConfig | None = None
    """`[mine]`: pairs are made from the model's own mistakes, and `dpo` trains on them. Without it, `dpo` trains on the
    given pairs."""

    dpo: dict[str, Any] = pydantic.Field(default_factory=dict)
    grpo: dict[str, Any] = pydantic.Field(default_factory=dict)
    guard: GuardConfig = GuardConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    launch: LaunchConfig = LaunchConfig()
    gate: GateConfig = GateConfig()
    report: ReportConfig = ReportConfig()
    tracking: TrackingConfig = TrackingConfig()
    export: ExportConfig | None = None
    plan: PlanConfig = PlanConfig()
    _file: str = pydantic.PrivateAttr("")
    _words: tuple[str, ...] = pydantic.PrivateAttr(())

    @property
    def words(self) -> str:
        """The run file's path and what was laid over it, as a shell takes them; empty where it was read from none."""
        return shlex.join(self._words)

    @contextmanager
    def naming_file(self) -> Iterator[None]:
        """Within it, a mistake in a table that is checked late names the run file, as one that is found at once does.

        Raises:
            ConfigError: the same, with the file before it.
        """
        try:
            yield
        except ConfigError as error:
            raise ConfigError(f"{self._file}: {error}" if self._file else str(error)) from error

    @pydantic.model_validator(mode="after")
    def _titles_differ(self) -> Self:
        titles = self.benchmark_titles
        if len(set(titles)) < len(titles):
            raise ValueError("two of [[evaluate.benchmarks]] have one name; give one of them a 'label'")
        return self

    @pydantic.model_validator(mode="after")
    def _rules_name_benchmarks(self) -> Self:
        titles = self.benchmark_titles
        for rule in self.gate.parsed:
            if rule.benchmark not in titles:
                problem = unknown_key(rule.benchmark, titles).replace("unknown key", "unknown benchmark", 1)
                raise ValueError(f"gate.rules: '{rule.text}': {problem}")
        return self

    @pydantic.model_validator(mode="after")
    def _mining_is_of_use(self) -> Self:
        # This is told before SFT is paid for.
        if self.mine and "dpo" not in self.stages:
            raise ValueError("[mine] makes pairs for 'dpo', which is not among the stages")
        if self.mine and self.evaluate.backend == "openai":
            raise ValueError("[mine] needs the backend 'hf' or 'vllm': the openai backend draws none")
        return self

    @pydantic.field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name == "models":
            raise ValueError("'models' is the folder of what was read of GGUF files; take another name")
        return name

    @pydantic.field_validator("stages")
    @classmethod
    def _in_order(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if stages != tuple(stage for stage in STAGES if stage in stages):
            raise ValueError('must be some of "sft", "dpo" and "grpo", each once and in this order, or []')
        return stages

    @property
    def benchmark_titles(self) -> tuple[str, ...]:
        """Every name that results of `[[evaluate.benchmarks]]` may have; with thinking both ways there are two each."""
        titles = tuple(entry.title for entry in self.evaluate.benchmarks)
        suffixes = ("", THINKING_SUFFIX) if self.chat.thinking == "both" else ("",)
        return tuple(title + suffix for title in titles for suffix in suffixes)

    @property
    def run_folder(self) -> Path:
        """The folder in which everything is written that this run makes."""
        return Path(self.output) / self.name

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Every checkpoint of this run, the base first. Each is trained from the one before it."""
        return checkpoint_names(self.stages, self.num_rounds)

    @property
    def num_rounds(self) -> int:
        """How often `dpo` trains; more than once only with `[mine]`."""
        return self.mine.rounds if self.mine else 1

    def trained_from(self, checkpoint: str) -> str:
        """Return the checkpoint that `checkpoint`, which is not the base, is trained from.

        Raises:
            ConfigError: this run does not train it.
        """
        if checkpoint not in self.checkpoints:
            named = ", ".join(self.stages) or "nothing"
            with self.naming_file():
                raise ConfigError(f"'stages' does not name '{stage_of(checkpoint)}' (it names {named})")
        return self.checkpoints[self.checkpoints.index(checkpoint) - 1]

    def checkpoint_folder(self, checkpoint: str) -> str:
        """Return what `from_pretrained` takes for one of `checkpoints`."""
        return self.model if checkpoint == "base" else str(self.run_folder / checkpoint)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a run file, lay `key.path=value` overrides over it, and check it.

    People write TOML. A `.json` file is what calltune writes of a checked run file, such as `config.json` in a run's
    folder.

    Raises:
        ConfigError: the file is missing, is not TOML, or a key or value is wrong; the line names the file and the key.
    """
    language, parse = ("JSON", partial(_parse_json, path)) if path.suffix == ".json" else ("TOML", tomllib.loads)
    if kind := special_file(path):
        raise ConfigError(f"{path}: is {kind}, a run file was expected")
    try:
        table = parse(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: not a table of {language}")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such run file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder, a run file was expected") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}") from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: not valid {language}: {error}") from None
    except ValueError:
        raise ConfigError(f"{path}: not valid {language}: a number of thousands of digits") from None
    except RecursionError:
        raise ConfigError(f"{path}: {language} nested too deeply") from None
    for override in overrides:
        _apply_override(table, override)
    if key := not_finite_key(table):
        raise ConfigError(f"{path}: '{key}': must be a finite number")
    key, named, kind = special_key(table)
    if kind:
        raise ConfigError(f"{path}: '{key}': {named} is {kind}; files and folders alone are read")
    config = parse_options(Config, table, str(path))
    config._file, config._words = str(path), (str(path), *overrides)
    with config.naming_file():
        check_tables({**{stage: getattr(config, stage) for stage in STAGES}, "lora": config.lora})
    return config


def _parse_json(path: Path, text: str) -> Any:
    """JSON in which a key stands once in each object, as TOML has it; Python would keep the last one."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            key = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
            raise ConfigError(f"{path}: the key '{key}' occurs twice in one object")
        return table

    return json.loads(text, object_pairs_hook=unique)


def _apply_override(table: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    # The value may be a secret, which is refused when all of the run file is known.
    where = f"override '{conceal(path.strip())}'"
    if not equals or not path:
        raise ConfigError(f"override '{conceal(override)}': must be key.path=value")
    *parents, last = path.strip().split(".")
    place: Any = table
    for part in parents:
        if isinstance(place, dict):
            place = place.setdefault(part, {})
        elif isinstance(place, list) and part.isdigit() and int(part) < len(place):
            place = place[int(part)]
        else:
            raise ConfigError(f"{where}: there is no '{part}' to go into")
    if isinstance(place, list) and last.isdigit() and int(last) < len(place):
        place[int(last)] = _toml_value(text)
    elif isinstance(place, dict):
        place[last] = _toml_value(text)
    else:
        raise ConfigError(f"{where}: there is no '{last}' to set")


def _toml_value(text: str) -> Any:
    # The shell takes the quotes of "a string" away, so what is not TOML is a string.
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
