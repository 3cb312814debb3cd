"""`[data]`: where rows come from, which are left out; `[data.derive]`: what is made from a user's own calls.

Every share of `[data.derive]` counts rows per *deciding call*: a row whose answer is a call and whose last message
before it is the user's. Calls that follow a tool's result stay as they are: there nobody waits for an answer that
could be withheld.
"""

from typing import Annotated, Literal

import pydantic

from calltune.config.endpoint import EndpointConfig
from calltune.config.entries import SourceEntry
from calltune.config.table import Table
from calltune.types import Behavior

Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class RewriteConfig(EndpointConfig):
    """`[data.derive.model]`: the model that takes a value out of a question where a rule cannot."""

    model: Annotated[str, pydantic.Field(min_length=1)]
    """The model, as its server names it."""


class DeriveConfig(Table):
    """The keys of `[data.derive]`; the defaults make the four behaviours about equally frequent from calls alone."""

    cannot_answer: Share = 0.5
    """Rows per deciding call whose tool, with its near twins, is taken away, and which are answered by a refusal."""

    request_for_info: Share = 0.9
    """Rows per deciding call whose question has lost one required value, and which are answered by asking for it."""

    direct: Share = 0.5
    """Rows per deciding call of small talk or general knowledge, answered without the tools that are on offer."""

    other_tools: Share = 0.2
    """Rows per deciding call with the same call, some of the other tools left out and some of other rows' added.
    Without them the number of tools alone would tell that a tool was taken away."""

    pairs: Annotated[float, pydantic.Field(ge=0, le=4)] = 1.0
    """Preference pairs per deciding call; every right behaviour meets every wrong one equally often."""

    call_pairs: Share = 0.25
    """Share of the pairs in which both answers call: the wrong tool, a missing argument, an altered value, an invented
    tool; these four equally often."""

    no_tools: Share = 0.1
    """Share of the `cannot_answer` and `direct` rows that offer no tool at all."""

    incomplete: Share = 0.3
    """Share of the `cannot_answer` rows whose question lacks a value too, so that a missing value alone does not tell
    that it should be asked for."""

    distractors: Share = 0.5
    """Share of the derived rows that are offered tools of other rows, never twins of the one the question is about."""

    max_distractors: Annotated[int, pydantic.Field(ge=1, le=32)] = 3
    """Tools of other rows that are added, at most."""

    twin_similarity: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.4
    """Tools at least so similar to the missing one are its twins, by the measure of `calltune.data.derive.twins`."""

    held_out: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.1
    """Share of the conversations of which nothing is trained; `data/test.jsonl` asks about them."""

    num_questions: Annotated[int, pydantic.Field(ge=0)] = 400
    """Questions in `data/test.jsonl`, at most; the four behaviours equally often."""

    model: RewriteConfig | None = None
    """Without it, a value that does not stand in the question literally is passed over, and counted."""


Choice = Literal["null_padding", "invalid_call", "contamination", "near_duplicate", "contradiction"]
"""Findings of the data doctor of which the run file may say whether their rows are left out."""


class DataConfig(Table):
    """`[data]`: where rows come from, which are left out, and how they are split."""

    sources: Annotated[tuple[SourceEntry, ...], pydantic.Field(min_length=1)]
    """`[[data.sources]]`, read in order."""

    validation_fraction: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.02
    """Share of questions held back from training to watch its loss; a question is never on both sides."""

    derive: DeriveConfig | None = None
    """`[data.derive]`: refusals, questions back, direct answers and pairs made from the calls; without it none."""

    allow_missing: tuple[Behavior, ...] = ()
    """Behaviours that a training set may lack though the run's evaluation counts them."""

    reject: tuple[Choice, ...] = ("null_padding", "invalid_call", "contamination")
    """Findings whose rows are left out; the others are reported and their rows kept (`docs/doctor.md`)."""

    workers: Annotated[int, pydantic.Field(gt=0)] | None = None
    """Processes that write, tokenize and check rows; by default one per CPU, up to four."""

    group_by_tools: bool = False
    """Put training rows with the same tools into the same batches, where they share them: docs/shared-prefixes.md."""
