"""What a user asked, in one normal form.

The split, the search for contradictions and the search for what benchmarks ask too compare it.
"""

import hashlib
import re
from collections.abc import Sequence

from calltune.types import Message

_WORD = re.compile(r"\w+")


def first_question(messages: Sequence[Message], otherwise: str = "") -> str:
    """Return the first user message in normal form; where the user says nothing, return `otherwise`.

    It puts a row and all turns of its conversation on one side of the split.
    """
    questions = (" ".join(message.content.split()).casefold() for message in messages if message.role == "user")
    return next(questions, otherwise)


def asked(messages: Sequence[Message]) -> str:
    """Return all that the user said."""
    return " ".join(message.content for message in messages if message.role == "user")


def words(text: str) -> list[str]:
    """Return the words of a text, without case and punctuation."""
    return _WORD.findall(text.casefold())


def digest(text: str) -> bytes:
    """Return eight bytes that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
