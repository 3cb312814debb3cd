"""The embedded default source as a member of the family of sources.

It needs no download, takes one seed, and has held-out questions of its own.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pydantic

from calltune.config.table import Table
from calltune.data.sources import synthetic
from calltune.files.hashes import value_sha256
from calltune.types import Example, Preference, chosen_example


class Settings(Table):
    """The keys of a `synthetic` source."""

    num_examples: Annotated[int, pydantic.Field(ge=0)] = 1600
    num_pairs: Annotated[int, pydantic.Field(ge=0)] = 640
    num_questions: Annotated[int, pydantic.Field(ge=0)] = 240
    """How many held-out questions are written to `data/test.jsonl`, in When2Call's test layout."""

    test_split: Literal["development", "final"] = "development"
    """The split of the held-out questions. Tune on one, look at the other once. They share no tool, wording or value
    with training, nor with each other."""

    seed: int = 0

    as_examples: bool = False
    """Whether the pairs' chosen answers become examples to imitate: the control for what preferences bring."""


def read(settings: Settings) -> Iterator[Example | Preference]:
    """Yield the examples, then the pairs, of the training split."""
    yield from synthetic.examples(settings.seed, settings.num_examples)
    pairs = synthetic.preferences(settings.seed, settings.num_pairs)
    yield from map(chosen_example, pairs) if settings.as_examples else pairs


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the held-out questions, in When2Call's test layout."""
    return synthetic.questions(settings.seed, settings.num_questions, settings.test_split)


def fingerprint(settings: Settings) -> str:
    """Return a hash of the settings, which decide everything."""
    return value_sha256(settings.model_dump())
