"""Texts that were cut: answers that stop where nobody stops.

One text alone tells it by an open end. Beside the other texts of its source it is told by its last word: where nearly
all texts end with a full stop or the like, one that ends without, in a word that ends no sentence anywhere, was cut.
"""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, TypeVar

_OPEN_END = re.compile(
    r"(?:[,(\[{\N{EN DASH}\N{EM DASH}/&+=<\\]|"
    r"\b(?:the|a|an|and|or|but|your|our|their|because|if|than|very))$",
    re.IGNORECASE,
)
_LISTED = re.compile(r"^\s*(?:[-*\N{BULLET}#|>]|\d+[.)])")
_LAST_WORD = re.compile(r"[^\W\d_][\w'\N{RIGHT SINGLE QUOTATION MARK}-]*$")
_SENTENCE_END = re.compile(r"([^\W\d_][\w'\N{RIGHT SINGLE QUOTATION MARK}-]*)[\"')\]]*[.?!:\u2026](?=\s|$)")
_HARDLY_LAST = frozenset(
    (
        *("am", "are", "as", "at", "be", "been", "by", "could", "do", "does", "for", "from", "had", "has", "have", "i"),
        *(
            "in",
            "is",
            "may",
            "might",
            "must",
            "no",
            "not",
            "of",
            "on",
            "our",
            "shall",
            "should",
            "some",
            "that",
            "these",
        ),
        *("this", "those", "to", "was", "were", "which", "who", "whose", "will", "with", "would"),
    )
)
"""Words that end a sentence now and then, and hardly one that lacks its full stop among others that have theirs."""

_FEWEST_TEXTS = 50
_LEAST_SHARE = 0.8


def cut_off(text: str) -> str:
    """Return how a text shows by itself that it was cut, or an empty string."""
    text = text.rstrip()
    if text.count("```") % 2:
        return "its block of code does not end"
    if text[:1] in ("{", "[") and text[1:2] in ('"', "{", "[", "\n", " "):
        return "" if _is_json(text) else "its JSON does not end"
    match = _OPEN_END.search(text)
    return f"it ends with {match[0]!r}" if match and len(text) > 15 else ""


def _is_json(text: str) -> bool:
    """Return whether a text is JSON, or goes wrong before its end, where nothing was cut."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos < len(text) - 1 and not error.msg.startswith("Unterminated string")
    except (ValueError, RecursionError):
        pass
    return True


def ending(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the last word of a text that ends without a full stop or the like, and the words that end its sentences.

    The last word is empty where the text ends properly, in a number, or in a list.
    """
    text = text.rstrip()
    last_line = text[text.rfind("\n") + 1 :]
    match = None if _LISTED.match(last_line) else _LAST_WORD.search(last_line)
    ends = dict.fromkeys(word.casefold() for word in _SENTENCE_END.findall(text))
    return match[0].casefold() if match else "", tuple(ends)


class Ended(Protocol):
    """What is known of how a row's text ends, as `ending` gives it; None where the answer is no text."""

    source: int
    ending: tuple[str, tuple[str, ...]] | None


Row = TypeVar("Row", bound=Ended)


def cut_beside_others(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Return the rows whose texts end as no other text of their source does, where most texts end properly."""
    texts: dict[int, list[tuple[Row, str]]] = defaultdict(list)
    known: dict[int, set[str]] = defaultdict(set)
    for row in rows:
        if row.ending is not None:
            last, ends = row.ending
            texts[row.source].append((row, last))
            known[row.source].update(ends)
    told = []
    for source, ended in texts.items():
        proper = sum(not last for _, last in ended)
        if len(ended) >= _FEWEST_TEXTS and proper >= _LEAST_SHARE * len(ended):
            ends = known[source] - _HARDLY_LAST
            told += [(row, last) for row, last in ended if last and last not in ends]
    return [(row, f"it ends in {last!r}, where {_LEAST_SHARE:.0%} of the texts end a sentence") for row, last in told]
