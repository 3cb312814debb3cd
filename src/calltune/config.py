"""What stands in a run file, as one frozen `Config`.

`[sft]`, `[dpo]` and `[lora]` are kept as they stand and go word for word to TRL's `SFTConfig`, `DPOConfig` and PEFT's
`LoraConfig`; the stage that reads them checks their keys. A source's or benchmark's own keys are checked by that
module's `Settings`, through `parse_options`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic

from calltune.derive_settings import DeriveSettings
from calltune.errors import ConfigError
from calltune.gate import Rule, parse_rule
from calltune.launch_settings import LaunchConfig
from calltune.mine_settings import MineSettings
from calltune.options import Table, unknown_key
from calltune.plan_settings import PlanConfig
from calltune.stages import CheckpointName, Stage, checkpoint_names
from calltune.tuning_settings import TuningConfig
from calltune.types import Behavior

Choice = Literal["null_padding", "invalid_call", "contamination", "near_duplicate", "contradiction"]
"""Findings of the data doctor of which the run file may say whether their rows are left out."""


def _as_rule(text: str) -> str:
    parse_rule(text)
    return text


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


class SourceEntry(Entry):
    """One of `[[data.sources]]`; these keys hold for every source."""

    weight: Annotated[float, pydantic.Field(gt=0)] = 1.0
    """Below 1 the share of its rows that is kept; above 1 how often each is repeated (2.5: twice, and half of them
    once more)."""

    limit: Annotated[int, pydantic.Field(gt=0)] | None = None
    """Rows to take from the beginning."""

    seed: int | None = None
    """Chooses the rows that `weight` keeps or repeats; by default the run's. A source that makes its rows takes it."""


class DataConfig(Table):
    """`[data]`: where rows come from, which are left out, and how they are split."""

    sources: Annotated[tuple[SourceEntry, ...], pydantic.Field(min_length=1)]
    """`[[data.sources]]`, read in order."""

    validation_fraction: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.02
    """Share of questions held back from training to watch its loss; a question is never on both sides."""

    derive: DeriveSettings | None = None
    """`[data.derive]`: refusals, questions back, direct answers and pairs made from the calls; without it none."""

    allow_missing: tuple[Behavior, ...] = ()
    """Behaviours that a training set may lack though the run's evaluation counts them."""

    reject: tuple[Choice, ...] = ("null_padding", "invalid_call", "contamination")
    """Findings whose rows are left out; the others are reported and their rows kept (`docs/doctor.md`)."""

    workers: Annotated[int, pydantic.Field(gt=0)] | None = None
    """Processes that write, tokenize and check rows; by default one per CPU, up to four."""

    group_by_tools: bool = False
    """Put training rows with the same tools into the same batches, where they share them: docs/shared-prefixes.md."""


class EvaluateConfig(Table):
    """`[evaluate]`: what is asked of which checkpoint."""

    benchmarks: tuple[Entry, ...] = ()
    """`[[evaluate.benchmarks]]`, asked in order."""

    checkpoints: tuple[CheckpointName, ...] | None = None
    """Those that exist are evaluated; by default the base and all that was trained."""

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


class ExportConfig(Table):
    """`[export]`: the model that is handed on. `calltune run` exports when the table stands in the run file."""

    checkpoint: CheckpointName | None = None
    """By default the last that is complete."""

    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """By default the precision in which the checkpoint is stored, which is the base model's."""

    folder: str | None = None
    """By default `export` in the run's folder."""

    max_shard_size: Annotated[str, pydantic.Field(pattern=r"^[1-9]\d*[KMG]B$")] = "5GB"
    """Upper bound of one file of weights."""


class GateConfig(Table):
    """`[gate]`: what must hold of the last checkpoint; `report` and `run` exit with 3 when a rule is broken."""

    rules: tuple[Annotated[str, pydantic.AfterValidator(_as_rule)], ...] = ()
    """Such as `when2call.acc_norm >= +2`: a sign makes a difference in points, none a share in [0, 1]."""

    checkpoint: CheckpointName | None = None
    """Which checkpoint is judged; by default the last that was evaluated."""

    against: Annotated[str, pydantic.Field(min_length=1)] = "base"
    """What differences are taken to: a checkpoint of this run, or `<run>:<checkpoint>` of one that is compared."""

    decide_by: Literal["value", "interval"] = "value"
    """`value` asks that the figure itself keeps the rule, `interval` that all of its 95 % interval does."""

    @property
    def parsed(self) -> tuple[Rule, ...]:
        """The rules, read."""
        return tuple(map(parse_rule, self.rules))


class ReportConfig(Table):
    """`[report]`: what is shown."""

    compare: tuple[str, ...] = ()
    """Folders of other runs, shown side by side with this one."""


class Config(Table):
    """A whole run file."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Names the run's folder and its MLflow runs."""

    model: Annotated[str, pydantic.Field(min_length=1)]
    """A Hub id or a local folder, as `from_pretrained` takes it."""

    chat_template: str | None = None
    """A Jinja file to write conversations with, for a model that has no chat template, or instead of its own."""

    output: str = "runs"
    seed: int = 0
    stages: tuple[Stage, ...] = ("sft", "dpo")
    data: DataConfig
    tuning: TuningConfig = TuningConfig()
    lora: dict[str, Any] = pydantic.Field(default_factory=dict)
    sft: dict[str, Any] = pydantic.Field(default_factory=dict)
    mine: MineSettings | None = None
    """Pairs from the model's own mistakes, on which `dpo` then trains; without it, on the given ones."""

    dpo: dict[str, Any] = pydantic.Field(default_factory=dict)
    evaluate: EvaluateConfig = EvaluateConfig()
    launch: LaunchConfig = LaunchConfig()
    gate: GateConfig = GateConfig()
    report: ReportConfig = ReportConfig()
    tracking: TrackingConfig = TrackingConfig()
    export: ExportConfig | None = None
    plan: PlanConfig = PlanConfig()

    @pydantic.model_validator(mode="after")
    def _titles_differ(self) -> Self:
        titles = [entry.title for entry in self.evaluate.benchmarks]
        if len(set(titles)) < len(titles):
            raise ValueError("two of [[evaluate.benchmarks]] have one name; give one of them a 'label'")
        return self

    @pydantic.model_validator(mode="after")
    def _rules_name_benchmarks(self) -> Self:
        titles = [entry.title for entry in self.evaluate.benchmarks]
        for rule in self.gate.parsed:
            if rule.benchmark not in titles:
                problem = unknown_key(rule.benchmark, titles).replace("unknown key", "unknown benchmark", 1)
                raise ValueError(f"gate.rules: '{rule.text}': {problem}")
        return self

    @pydantic.model_validator(mode="after")
    def _mining_is_of_use(self) -> Self:
        # Told before SFT is paid for.
        if self.mine and "dpo" not in self.stages:
            raise ValueError("[mine] makes pairs for 'dpo', which is not among the stages")
        if self.mine and self.evaluate.backend == "openai":
            raise ValueError("[mine] needs the backend 'hf' or 'vllm': the openai backend draws none")
        return self

    @pydantic.field_validator("sft", "dpo")
    @classmethod
    def _no_secret(cls, table: dict[str, Any]) -> dict[str, Any]:
        # Every run's folder has a copy of its run file.
        if "hub_token" in table:
            # Not a ValueError, whose message would have the table in it, and the token.
            raise ConfigError("'hub_token': a run file holds no secret; set HF_TOKEN in the environment instead")
        return table

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

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Every checkpoint of this run, the base first; each is trained from the one before it."""
        return checkpoint_names(self.stages, self.num_rounds)

    @property
    def num_rounds(self) -> int:
        """How often `dpo` trains; more than once only with `[mine]`."""
        return self.mine.rounds if self.mine else 1

    def trained_from(self, checkpoint: str) -> str:
        """The checkpoint that another one, which is not the base, is trained from."""
        return self.checkpoints[self.checkpoints.index(checkpoint) - 1]

    def checkpoint_folder(self, checkpoint: str) -> str:
        """What `from_pretrained` takes for one of `checkpoints`."""
        return self.model if checkpoint == "base" else str(self.run_folder / checkpoint)
