"""`[evaluate]`: which checkpoints are asked, and what."""

from typing import Annotated, Any

import pydantic

from calltune.config.entries import Entry
from calltune.config.stages import CheckpointName
from calltune.config.table import Table


class EvaluateConfig(Table):
    """The keys of `[evaluate]`: which checkpoints are asked, and what."""

    benchmarks: tuple[Entry, ...] = ()
    """`[[evaluate.benchmarks]]`, which are asked in order."""

    checkpoints: tuple[CheckpointName, ...] | None = None
    """The checkpoints to evaluate, as far as they exist. By default these are the base and every trained one."""

    backend: str = "hf"
    """The module that runs the model."""

    backend_options: dict[str, Any] = pydantic.Field(default_factory=dict)
    """`[evaluate.backend_options]`: the backend's own keys, checked by its module's `Settings`."""

    tokens_per_batch: Annotated[int, pydantic.Field(ge=256)] = 16_384
    """The most tokens, padding included, in one forward pass. Lower it when memory runs out."""
