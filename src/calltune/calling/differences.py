"""Where two texts differ, in words short enough for one line."""

from collections.abc import Sequence
from typing import Any

from calltune.types import Message

_MOST_SHOWN = 40  # of a text, in characters


def what_changes(prompt: str, answered: str, messages: Sequence[Message]) -> str:
    """Say where a prompt and what is written in its place once it is answered first differ, and in what."""
    after = f"after a message of the {messages[-1].role}, " if messages else ""
    before, old, new = difference(prompt, answered)
    return f"{after}behind {before} it writes {new} instead of {old}"


def difference(old: str, new: str) -> tuple[str, str, str]:
    """Return what stands before the first difference of two texts, and what each has there, quoted and shortened."""
    start = num_common(old, new)
    # An answer stands behind the one text and not behind the other, so ends are compared where there is none.
    end = num_common(old[start:][::-1], new[start:][::-1])
    before = old[max(0, start - _MOST_SHOWN) : start]
    return repr(before), _shown(old[start : len(old) - end]), _shown(new[start : len(new) - end])


def num_common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many characters two texts, or tokens two lists of them, begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (first, second) in pairs if first != second), min(len(one), len(other)))


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")
