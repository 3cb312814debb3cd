"""The class that holds the wordings of a split, and the function that loads them.

`{c}` is a request as a command ("pay an invoice"), `{C}` the same at the beginning of a sentence, `{v}` a value, and
`{act}` what cannot be done. A slot that begins with a capital is a sentence of its own; others stand behind the
command. No wording may cross its class: a refusal says that it cannot, a question back asks, a report does neither.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module

from calltune.data.sources.agent.values import Split


@dataclass(frozen=True, slots=True)
class Words:
    """How customers of a split ask, and how the assistant answers them.

    `commands` and `reports` are by tool, `slots` and `asks` by kind of value. A report's parts are the call's arguments
    and its result's fields. `talk` are questions that need no function, with their answers.
    """

    requests: tuple[str, ...]
    commands: dict[str, tuple[str, ...]]
    slots: dict[str, tuple[str, ...]]
    asks: dict[str, tuple[str, ...]]
    replies: tuple[str, ...]
    reports: dict[str, tuple[str, ...]]
    failures: tuple[str, ...]
    claims: tuple[str, ...]
    topics: tuple[str, ...]
    refusals: tuple[str, ...]
    talk: tuple[tuple[str, str], ...]


@cache
def words_of(split: Split) -> Words:
    """Return the wordings of a split."""
    return import_module(f"calltune.data.sources.agent.words_{split}").WORDS
