"""Thoughts in what sources read: kept where the run file asks for it, otherwise dropped and told."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_KEPT: ContextVar[bool] = ContextVar("thoughts are kept", default=False)

_TEXTS = ("text", "thinking", "reasoning", "thought", "reasoningText", "content", "summary")
"""The keys of a thinking block that may hold its words; what is encrypted or redacted stands under others."""


@contextmanager
def thoughts_kept(are_kept: bool) -> Iterator[None]:
    """While this is open, sources keep thoughts with the answers that they stand before, or drop them."""
    token = _KEPT.set(are_kept)
    try:
        yield
    finally:
        _KEPT.reset(token)


def are_kept() -> bool:
    """Return whether thoughts are kept now."""
    return _KEPT.get()


def thought_text(value: Any) -> str:
    """Return the words of a thought in any maker's layout; an empty string where it has none, as one that is encrypted.

    Text is itself, a block holds it under a key of its own, and a list of blocks is one thought.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return "\n\n".join(filter(None, map(thought_text, value)))
    if isinstance(value, Mapping):
        return next(filter(None, (thought_text(value[key]) for key in _TEXTS if value.get(key))), "")
    return ""


def joined(*thoughts: str) -> str:
    """Return several thoughts before one answer as one, each once."""
    return "\n\n".join(dict.fromkeys(thought for thought in thoughts if thought))
