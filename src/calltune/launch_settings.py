"""`[launch]`: on how many processes and machines a run is trained and evaluated."""

from typing import Annotated, Literal, Self

import pydantic

from calltune.options import Table
from calltune.sagemaker_settings import SageMakerConfig


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

    tokens_per_batch: Annotated[int, pydantic.Field(ge=256)] | None = None
    """In training, an upper bound of tokens in one pass; a batch with more takes several. Without it, one takes all."""

    sagemaker: SageMakerConfig | None = None
    """`[launch.sagemaker]`, for `--on sagemaker`."""

    @pydantic.model_validator(mode="after")
    def _machines_fit(self) -> Self:
        if self.machine_rank >= self.machines:
            raise ValueError(f"machine_rank {self.machine_rank} needs more than {self.machines} machines")
        if self.machines > 1 and self.main_address is None:
            raise ValueError("with several machines 'main_address' must be given")
        if self.tokens_per_batch and self.strategy != "ddp":
            raise ValueError(f"'tokens_per_batch' is read by strategy 'ddp' alone, not by '{self.strategy}'")
        return self
