"""The classes that hold a split's wordings, and the functions that load them.

Placeholders: {do} the whole request ("book a flight to Oslo"), {act} the request without its values ("book a flight"),
{slots} the values alone ("to Oslo on 3 May"), {thing} ("flight"), {done} ("booked"), {what} ("start time"), {v} a
value. A capital placeholder ({Do}, {Act}, {Slots}, {What}) starts a sentence.

No wording may cross its class: a refusal says that it cannot, a question back asks, a claim or a direct reply does
neither. That is what lets generated text be classified by a simple rule.
"""

from dataclasses import dataclass
from importlib import import_module

from calltune.data.sources.synthetic.values import Split


@dataclass(frozen=True, slots=True)
class Wordings:
    """How one split asks, what it says when values are given, and how an assistant replies."""

    articles: tuple[str, ...]
    requests: tuple[str, ...]
    slots: dict[str, tuple[str, ...]]
    questions_back: tuple[str, ...]
    refusals: tuple[str, ...]
    bare_refusals: tuple[str, ...]
    claims: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SmallTalk:
    """Questions that need no tool, as (question, reply) templates over `fillers`.

    Placeholders are names of fillers; a filler with fields is split at "|" and offers {name} and {name_2}.
    {thing} and {a_thing} come from the split's catalogue, {a}, {b}, {sum} are numbers.
    A reply may have one of the `openings` before it and one of the `endings` after it.
    """

    pairs: tuple[tuple[str, str], ...]
    fillers: dict[str, tuple[str, ...]]
    openings: tuple[str, ...] = ("",)
    endings: tuple[str, ...] = ("",)


def wordings(split: Split) -> Wordings:
    """Return the wordings of requests and replies of the split."""
    return import_module(f"calltune.data.sources.synthetic.wordings_{split}").WORDINGS


def small_talk(split: Split) -> SmallTalk:
    """Return the questions of the split that need no tool."""
    return import_module(f"calltune.data.sources.synthetic.small_talk_{split}").SMALL_TALK
