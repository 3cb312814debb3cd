"""`[evaluate]`: what is asked of which checkpoint."""

from typing import Annotated, Any

import pydantic

from calltune.config.entries import Entry
from calltune.config.stages import CheckpointName
from calltune.config.table import Table


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
