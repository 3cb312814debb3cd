"""`[tracking]`, `[export]`, `[report]` and `[plan]`: what is recorded, handed on, shown and reckoned of a run."""

from typing import Annotated, Literal, Self

import pydantic

from calltune.config.stages import CheckpointName
from calltune.config.table import Table


class TrackingConfig(Table):
    """`[tracking]`: whether and where MLflow records the run."""

    mlflow: bool = True
    uri: str | None = None
    """The address of the store; by default a sqlite file, `mlflow.db`, beside the run's folder."""

    experiment: str = "calltune"
    log_model: bool = False
    """Whether MLflow keeps a copy of the exported model; otherwise it is told where the folder is."""

    register_model: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """The model in MLflow's registry of which each export becomes a version."""


class ExportConfig(Table):
    """`[export]`: the model that is handed on. `calltune run` exports when the table stands in the run file."""

    checkpoint: CheckpointName | None = None
    """The checkpoint that is exported; by default the last that is complete."""

    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """The precision of the weights; by default the one in which the checkpoint is stored, which is the base model's."""

    folder: str | None = None
    """Where the model is written; by default `export` in the run's folder."""

    max_shard_size: Annotated[str, pydantic.Field(pattern=r"^[1-9]\d*[KMG]B$")] = "5GB"
    """The largest size of one file of weights."""

    gguf: tuple[Literal["f16", "q8_0", "q4_k_m"], ...] = ()
    """GGUF files for llama.cpp and Ollama, in a folder beside the model's, each proved before it is kept. The last one
    is what the `Modelfile` serves."""

    gguf_questions: Annotated[int, pydantic.Field(gt=0)] = 100
    """How many of the run's own questions each GGUF file answers."""

    @pydantic.field_validator("gguf")
    @classmethod
    def _once(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(formats)) < len(formats):
            raise ValueError("names a format twice")
        return formats


class ReportConfig(Table):
    """`[report]`: what the report shows."""

    compare: tuple[str, ...] = ()
    """Folders of other runs, which are shown side by side with this one."""


class PlanConfig(Table):
    """`[plan]`: keys that `check` alone reads. Nothing in it changes a run."""

    price_per_hour: Annotated[float, pydantic.Field(gt=0)] | None = None
    """The price of one machine for an hour, in US dollars. Without it no price is told."""

    probe_seconds: Annotated[float, pydantic.Field(ge=0)] = 30.0
    """How many seconds `check` takes in all for real steps and questions, to time the stages and benchmarks. It takes
    fewer where they agree, and none when this is 0."""

    device: str | None = None
    """A GPU by its name in `flops.py`, such as "H100". Hours are then reckoned for it instead of timed here."""

    mfu: Annotated[float, pydantic.Field(gt=0, lt=1)] | None = None
    """The share of that device's bf16 peak that is useful work. A stage's manifest has it as `useful_mfu`."""

    @pydantic.model_validator(mode="after")
    def _together(self) -> Self:
        if (self.device is None) != (self.mfu is None):
            raise ValueError("'device' and 'mfu' go together")
        return self
