"""`[data]` says where rows come from and which are left out, `[data.derive]` what is made from a user's own calls.

Every share of `[data.derive]` counts rows per *deciding call*: a row whose answer is a call and whose last message
before it is the user's. Calls that follow a tool's result stay as they are, because nobody waits there for an answer
that could be withheld.
"""

from typing import Annotated, Literal

import pydantic

from calltune.config.endpoint import EndpointConfig
from calltune.config.entries import SourceEntry
from calltune.config.redact import RedactConfig
from calltune.config.table import Table
from calltune.types import Behavior

GroupBy = Literal["tools", "conversation"]

Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class RewriteConfig(EndpointConfig):
    """`[data.derive.model]`: the model that takes a value out of a question where a rule cannot."""

    model: Annotated[str, pydantic.Field(min_length=1)]
    """The model's name, as its server has it."""


class DeriveConfig(Table):
    """The keys of `[data.derive]`; the defaults make the four behaviours about equally frequent from calls alone."""

    cannot_answer: Share = 0.5
    """How many rows per deciding call lose the tool and its near twins, and are answered by a refusal."""

    request_for_info: Share = 0.9
    """How many rows per deciding call lose one required value of their question, and are answered by asking for it."""

    direct: Share = 0.5
    """How many rows per deciding call hold small talk or general knowledge, answered without the tools on offer."""

    other_tools: Share = 0.2
    """How many rows per deciding call keep the call, lose some of the other tools, and gain some of other rows. Without
    them the number of tools alone would tell that a tool was taken away."""

    pairs: Annotated[float, pydantic.Field(ge=0, le=4)] = 1.0
    """How many preference pairs are made per deciding call. Every right behaviour meets every wrong one equally
    often."""

    call_pairs: Share = 0.25
    """Share of the pairs in which both answers call. The rejected call has the wrong tool, a missing argument, an
    altered value or an invented tool; these four come equally often."""

    no_tools: Share = 0.1
    """Share of the `cannot_answer` and `direct` rows that offer no tool at all."""

    incomplete: Share = 0.3
    """Share of the `cannot_answer` rows whose question lacks a value too, so that a missing value alone does not tell
    that it should be asked for."""

    distractors: Share = 0.5
    """Share of the derived rows that are offered tools of other rows too. None of these is a twin of the tool that the
    question is about."""

    max_distractors: Annotated[int, pydantic.Field(ge=1, le=32)] = 3
    """The most tools of other rows that are added to a row."""

    twin_similarity: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.4
    """Tools that are at least this similar to the missing one are its twins. `calltune.data.derive.twins` measures
    it."""

    held_out: Annotated[float, pydantic.Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    """Share of the conversations that are kept from training. `data/test.jsonl` asks about them. "auto" is a tenth, and
    more where that would be fewer than twenty conversations, up to three tenths."""

    num_questions: Annotated[int, pydantic.Field(ge=0)] = 400
    """The most questions in `data/test.jsonl`. The four behaviours come equally often."""

    model: RewriteConfig | None = None
    """`[data.derive.model]`. Without it, a value that does not stand in the question literally is passed over, and
    counted."""

    def share_held_out(self, num_conversations: int) -> float:
        """Return the share of this many conversations that is kept from training."""
        if self.held_out != "auto":
            return self.held_out
        return max(0.1, min(0.3, 20 / max(1, num_conversations)))


Choice = Literal[
    "null_padding",
    "foreign_tool",
    "invalid_call",
    "retried_call",
    "failed_call",
    "swapped_result",
    "corrected_answer",
    "cut_answer",
    "repeated_call",
    "contamination",
    "near_duplicate",
    "contradiction",
]
"""Findings of the data doctor for which the run file says whether their rows are left out."""


REJECTED: tuple[Choice, ...] = (
    *("null_padding", "foreign_tool", "invalid_call", "retried_call", "failed_call", "contamination"),
)
"""What is left out unless the run file says otherwise: what is no lesson whatever it is trained for."""


class DataConfig(Table):
    """`[data]`: where rows come from, which are left out, and how they are split."""

    sources: Annotated[tuple[SourceEntry, ...], pydantic.Field(min_length=1)]
    """`[[data.sources]]`, which are read in order."""

    validation_fraction: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.02
    """Share of the questions that is held back from training to watch its loss. A question is never on both sides."""

    derive: DeriveConfig | None = None
    """`[data.derive]`: refusals, questions back, direct answers and pairs are made from the calls. Without it none
    are."""

    redact: RedactConfig | None = None
    """`[data.redact]`: personal details are replaced before anything of a row is written. Without it rows stay as they
    are."""

    allow_missing: tuple[Behavior, ...] = ()
    """Behaviours that a training set may lack though the run's evaluation counts them."""

    reject: tuple[Choice, ...] = REJECTED
    """Findings whose rows are left out. Other findings are reported and their rows are kept (`docs/doctor.md`)."""

    workers: Annotated[int, pydantic.Field(gt=0)] | None = None
    """How many processes write, tokenize and check rows; by default one per CPU, up to four."""

    group_by: GroupBy | None = None
    """Which training rows go into the same batches, where they share what they begin with: those with the same tools,
    or those of one conversation (`docs/shared-prefixes.md`)."""
