"""What was asked, in one normal form: for the split, for contradictions and for what benchmarks ask too."""

import hashlib
import re
from collections.abc import Sequence

from calltune.types import Message

_WORD = re.compile(r"\w+")


def first_question(messages: Sequence[Message], otherwise: str = "") -> str:
    """The first user message, by which a row and all turns of its conversation fall on one side of the split.

    Where the user says nothing it is `otherwise`.
    """
    questions = (" ".join(message.content.split()).casefold() for message in messages if message.role == "user")
    return next(questions, otherwise)


def asked(messages: Sequence[Message]) -> str:
    """All that the user said."""
    return " ".join(message.content for message in messages if message.role == "user")


def words(text: str) -> list[str]:
    """Its words, without case and punctuation."""
    return _WORD.findall(text.casefold())


def digest(text: str) -> bytes:
    """Eight bytes that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
