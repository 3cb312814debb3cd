"""The names of stages and of the checkpoints that they make. `[mine] rounds` makes more than one of `dpo`."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import pydantic

Stage = Literal["sft", "dpo", "grpo"]

STAGES: tuple[Stage, ...] = get_args(Stage)
"""Every stage, in the order in which a run has them; each may be left out."""


def _checkpoint(name: str) -> str:
    if not re.fullmatch(r"base|sft|grpo|dpo(-([2-9]|[1-9]\d+))?", name):
        raise ValueError("must be 'base', 'sft', 'dpo', 'grpo', or, of a later round of mining, 'dpo-2' and so on")
    return name


CheckpointName = Annotated[str, pydantic.AfterValidator(_checkpoint)]
"""`base`, `sft`, `dpo`, `grpo`, and `dpo-2`, `dpo-3` and so on for later rounds."""


def of_round(name: str, number: int) -> str:
    """Return a folder's name in a round of mining: `name` itself in the first, `name-2` in the second."""
    return name if number == 1 else f"{name}-{number}"


def stage_of(checkpoint: str) -> Stage:
    """Return the stage that trained a checkpoint: `dpo` for `dpo-2`."""
    return "sft" if checkpoint == "sft" else "grpo" if checkpoint == "grpo" else "dpo"


def checkpoint_names(stages: Sequence[str], num_rounds: int) -> tuple[str, ...]:
    """Return every checkpoint of a run, each trained from the one before it: `base`, `sft`, `dpo`, `dpo-2`, `grpo`."""
    names = ["base"]
    for stage in stages:
        num = num_rounds if stage == "dpo" else 1
        names += [of_round(stage, number) for number in range(1, num + 1)]
    return tuple(names)
