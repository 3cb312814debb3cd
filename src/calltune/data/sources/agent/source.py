"""The made-up agent as a member of the family of sources: no download, one seed, questions of its own."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pydantic

from calltune.config.table import Table
from calltune.data.sources.agent import rows
from calltune.files.hashes import value_sha256
from calltune.types import Example, Preference, chosen_example


class Settings(Table):
    """The keys of an `agent` source."""

    num_conversations: Annotated[int, pydantic.Field(ge=0)] = 300
    """Each gives a row for every answer in it, two in the mean."""

    num_pairs: Annotated[int, pydantic.Field(ge=0)] = 240

    num_questions: Annotated[int, pydantic.Field(ge=0)] = 200
    """Held-out questions that go to `data/test.jsonl`, in When2Call's test layout, with `source` "agent"."""

    num_unseen: Annotated[int, pydantic.Field(ge=0)] = 60
    """As many again about tools that training never saw, with `source` "agent_unseen_tools"."""

    test_split: Literal["development", "final"] = "development"
    """The split of the held-out questions. Tune on one, look at the other once. They share no wording and no value with
    training, nor with each other."""

    seed: int = 0

    as_examples: bool = False
    """Whether the pairs' chosen answers become examples to imitate: the control for what preferences bring."""


def read(settings: Settings) -> Iterator[Example | Preference]:
    """Yield the examples, then the pairs, of the training split."""
    yield from rows.examples(settings.seed, settings.num_conversations)
    pairs = rows.preferences(settings.seed, settings.num_pairs)
    yield from map(chosen_example, pairs) if settings.as_examples else pairs


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the held-out questions, in When2Call's test layout."""
    return rows.questions(settings.seed, settings.num_questions, settings.test_split, settings.num_unseen)


def fingerprint(settings: Settings) -> str:
    """Return a hash of the settings, which decide everything."""
    return value_sha256(settings.model_dump())
