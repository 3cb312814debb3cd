"""`[guard]`: while a stage trains, the model answers a few of the run's own questions, so that a collapse is seen."""

from typing import Annotated, Literal

import pydantic

from calltune.config.table import Table

Share = Annotated[float, pydantic.Field(gt=0, le=1)]
Count = Annotated[int, pydantic.Field(gt=0)]


class GuardConfig(Table):
    """The keys of `[guard]`, which holds for every stage."""

    enabled: bool = True
    """Whether the model is asked at all."""

    num_questions: Count = 32
    """The most questions, as many of each behaviour as there are: rows held out for validation first, and rows that are
    trained on where these are too few. A benchmark's questions are never among them."""

    every_steps: Count | None = None
    """The optimiser steps from one check to the next; by default a fifth of the stage. The start and the last step are
    always checked."""

    max_new_tokens: Count = 96
    """The most tokens of an answer; fewer where all known answers are shorter. A text that does not end within them is
    read as far as it goes."""

    time_share: Annotated[float, pydantic.Field(gt=0)] = 0.1
    """The most time that the checks may take, as a share of the stage's own. Where all questions would take longer,
    fewer are asked, or less often, and a line says so."""

    most_drop: Share = 0.3
    """How far the recall of a behaviour may fall below that at the stage's start, or the rate of malformed or
    endless answers rise above it, as a share. A fall that may be chance at so few questions is none."""

    on_collapse: Literal["stop", "best"] = "stop"
    """What comes of a larger fall. "stop" ends the command with exit code 4, "best" ends the stage, whose model is then
    that of the best check before."""

    keep: Literal["last", "best"] = "last"
    """Which step's model a stage that comes to its end keeps: the last one's, or that of the check with the highest
    behaviour accuracy, then the most exact calls, then the latest step."""

    @property
    def keeps_best(self) -> bool:
        """Whether the best check's checkpoint may become the stage's model."""
        return self.enabled and "best" in (self.keep, self.on_collapse)
