"""The names of stages and of the checkpoints that they make. `[mine] rounds` makes more than one of `dpo`."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import pydantic

Stage = Literal["sft", "dpo"]


def _checkpoint(name: str) -> str:
    if not re.fullmatch(r"base|sft|dpo(-([2-9]|[1-9]\d+))?", name):
        raise ValueError("must be 'base', 'sft', 'dpo', or, of a later round of mining, 'dpo-2' and so on")
    return name


CheckpointName = Annotated[str, pydantic.AfterValidator(_checkpoint)]
"""`base`, `sft`, `dpo`, and `dpo-2`, `dpo-3` and so on for later rounds."""


def of_round(name: str, number: int) -> str:
    """Return a folder's name in a round of mining: `name` itself in the first, `name-2` in the second."""
    return name if number == 1 else f"{name}-{number}"


def stage_of(checkpoint: str) -> Stage:
    """Return the stage that trained a checkpoint: `dpo` for `dpo-2`."""
    return "sft" if checkpoint == "sft" else "dpo"


def checkpoint_names(stages: Sequence[str], num_rounds: int) -> tuple[str, ...]:
    """Return every checkpoint of a run, each trained from the one before it: `base`, `sft`, `dpo`, `dpo-2`."""
    num_later = num_rounds if "dpo" in stages else 1
    return ("base", *stages, *(of_round("dpo", number) for number in range(2, num_later + 1)))
