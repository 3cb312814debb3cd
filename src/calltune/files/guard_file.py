"""What a stage's guard leaves in the stage's folder: checks over its steps, of which the report draws curves."""

from typing import ClassVar

from calltune.files.state import History, State

GUARD = "guard.json"
"""In a stage's folder what its guard found, in a checkpoint what it knows so far."""


class GuardCheck(State):
    """What the model did after one step, as shares of the questions."""

    step: int
    metrics: dict[str, float]


class GuardFile(State):
    """`guard.json` in a stage's folder."""

    mend: ClassVar[str] = History.mend
    checks: list[GuardCheck]
