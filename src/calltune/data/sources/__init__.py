"""Where training rows come from; `SourceModule` is what each module of this family has."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import pydantic

from calltune.config.entries import Family
from calltune.types import Example, Preference, Rejected

Keys = TypeVar("Keys", bound=pydantic.BaseModel)


class SourceModule(Protocol[Keys]):
    """A module that gives training rows."""

    @property
    def Settings(self) -> type[Keys]:
        """The model of its own keys in `[[data.sources]]`."""
        ...

    def read(self, settings: Keys) -> Iterator[Example | Preference | Rejected]:
        """Every row as a noun, or as a `Rejected` that says why it cannot be one.

        Raises:
            DataError: a file is broken as a whole.
        """
        ...

    def fingerprint(self, settings: Keys) -> str:
        """What changes when the rows that `read` gives may have changed."""
        ...

    def questions(self, settings: Keys) -> Iterator[dict[str, Any]]:
        """What it holds back for measuring, in When2Call's test layout; nothing where all rows are trained on."""
        ...


SOURCES: Family[SourceModule[Any]] = Family(
    "source",
    SourceModule,
    {
        "agent": "calltune.data.sources.agent.source",
        "auto": "calltune.data.sources.auto",
        "chat_jsonl": "calltune.data.sources.chat_jsonl",
        "openai_traces": "calltune.data.sources.openai_traces",
        "sharegpt": "calltune.data.sources.sharegpt",
        "synthetic": "calltune.data.sources.synthetic.source",
        "when2call": "calltune.data.sources.when2call",
        "xlam": "calltune.data.sources.xlam",
    },
)
