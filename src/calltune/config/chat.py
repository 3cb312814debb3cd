"""`[chat]`: how the model is asked, and taught to answer, beyond what its template says."""

from typing import Annotated, Literal

import pydantic

from calltune.config.table import Table

Thinking = Literal["off", "on", "both"]

THINKING_SUFFIX = "-thinking"
"""What the name of a benchmark ends with where it is asked with thinking on, beside the same one with thinking off."""


class ChatConfig(Table):
    """The keys of `[chat]`."""

    thinking: Thinking = "off"
    """Whether the model thinks before it answers. With "off" it is taught and asked not to, and thoughts in the data
    are dropped. With "on" it learns the thoughts that rows have, and is asked to think. With "both" a row with a
    thought is learned with and without it, each in its own mode, and free answers are asked for in both modes."""

    max_thought_tokens: Annotated[int, pydantic.Field(gt=0)] = 1024
    """How many tokens an answer may have for its thought, beyond the benchmark's own `max_new_tokens`. An answer that
    has not ended by then is truncated."""

    @property
    def asks_to_think(self) -> tuple[bool, ...]:
        """The modes in which free answers are asked for: thinking off, on, or one after the other."""
        return {"off": (False,), "on": (True,), "both": (False, True)}[self.thinking]
