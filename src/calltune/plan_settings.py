"""`[plan]`: how `calltune check` reckons hours and price."""

from typing import Annotated, Self

import pydantic

from calltune.options import Table


class PlanConfig(Table):
    """`[plan]`: read by `check` alone; nothing in it changes a run."""

    price_per_hour: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Of one machine, in US dollars; without it no price is told."""

    probe_seconds: Annotated[float, pydantic.Field(ge=0)] = 6.0
    """Of real steps, at most, that `check` takes to time a stage or a benchmark, fewer where they agree; 0: none."""

    device: str | None = None
    """A GPU by its name in `flops.py`, such as "H100": hours are reckoned for it instead of timed here."""

    mfu: Annotated[float, pydantic.Field(gt=0, lt=1)] | None = None
    """The share of that device's bf16 peak that is useful work; a stage's manifest has it as `useful_mfu`."""

    @pydantic.model_validator(mode="after")
    def _together(self) -> Self:
        if (self.device is None) != (self.mfu is None):
            raise ValueError("'device' and 'mfu' go together")
        return self
