"""`[mine]`: preference pairs from the model's own answers to its training questions."""

from typing import Annotated, Literal

import pydantic

from calltune.options import Table

Count = Annotated[int, pydantic.Field(gt=0)]


class MineSettings(Table):
    """The keys of `[mine]`; where the table stands in the run file, `dpo` trains on `mined/pairs.jsonl`."""

    rounds: Count = 1
    """How often to mine and then train; each round after the first asks the model that the one before it made."""

    num_questions: Count | None = None
    """Training questions that are asked, at most; by default all."""

    num_answers: Count = 8
    """Answers that are drawn for each question."""

    temperature: Annotated[float, pydantic.Field(gt=0)] = 1.0

    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    """Of each token's candidates the likeliest are kept whose probabilities reach this together."""

    max_new_tokens: Count = 256
    """An answer that does not end within these tokens is counted as truncated, and is in no pair."""

    num_pairs: Count | None = None
    """Pairs, mined and given, at most; by default as many as were given, or all that were mined where none were."""

    given_share: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    """Share of the pairs that is taken from `data/preferences.jsonl`."""

    chosen: Literal["own", "gold"] = "own"
    """`own` prefers an answer of the model's own that was found right, where there is one; `gold` the data's answer."""
