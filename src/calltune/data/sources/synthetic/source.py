"""The embedded default source, as the family of sources wants it: no download, one seed, its own held-out questions."""

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
    """Held-out questions, written to `data/test.jsonl` in When2Call's test layout."""

    test_split: Literal["development", "final"] = "development"
    """Tune on one, look at the other once. They share no tool, wording or value with training, nor with each other."""

    seed: int = 0

    as_examples: bool = False
    """Take the pairs' chosen answers as examples to imitate: the control for what preferences bring."""


def read(settings: Settings) -> Iterator[Example | Preference]:
    """The examples, then the pairs, of the training split."""
    yield from synthetic.examples(settings.seed, settings.num_examples)
    pairs = synthetic.preferences(settings.seed, settings.num_pairs)
    yield from map(chosen_example, pairs) if settings.as_examples else pairs


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """The held-out questions, in When2Call's test layout."""
    return synthetic.questions(settings.seed, settings.num_questions, settings.test_split)


def fingerprint(settings: Settings) -> str:
    """The settings decide everything."""
    return value_sha256(settings.model_dump())
