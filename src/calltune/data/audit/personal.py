"""Personal details in texts, by their form alone: what they are, never which."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from calltune.data.text import digest

_FORMS: dict[str, re.Pattern[str]] = {
    "email": re.compile(r"(?<![\w.+-])[\w.+-]+@[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b", re.I),
    "card": re.compile(r"(?<![\w.+-])[3-6]\d{3}(?:[ -]?\d){9,15}(?![\w-])"),
    "iban": re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)"),
    "ssn": re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"),
    "phone": re.compile(
        r"(?<![\w.+-])(?:\+\d{1,3}(?:[ ./()-]{0,2}\d){7,12}"
        r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}"
        r"|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5})(?![\w-])"
    ),
    "ip": re.compile(
        r"(?<![\w.-])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w-]|\.\d)"
        r"|(?<![\w:])(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}(?![\w:])|(?<![\w:])(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6}(?![\w:])",
        re.IGNORECASE,
    ),
}
_NO_PERSON_S = re.compile(r"^(?:0\.|127\.|255\.|1\.0\.0\.0|1\.2\.3\.4$)")


def _is_card(text: str) -> bool:
    """Return whether the digits pass Luhn's check."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    doubled = [(2 * digit - 9 * (digit > 4)) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    """Return whether the text passes ISO 7064's check."""
    text = text.replace(" ", "")
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


_CHECKS: dict[str, Callable[[str], bool]] = {
    "card": _is_card,
    "iban": _is_iban,
    "ip": lambda text: not _NO_PERSON_S.match(text),
}
PERSONAL = tuple(_FORMS)
"""The kinds that are known."""


@lru_cache(maxsize=4096)
def personal_details(text: str) -> tuple[tuple[str, bytes], ...]:
    """Return the kind of each detail of a text, with a digest of it: nobody reads it back, and equal ones are one.

    Rows of one conversation hold the same texts over and over, hence the cache.
    """
    if not any(sign.isdigit() or sign == "@" for sign in text):
        return ()
    return tuple(dict.fromkeys((kind, digest(detail.casefold())) for kind, detail, _ in _details(text)))


def masked(text: str) -> str:
    """Return a text with the kind of each detail in its place."""
    for kind, detail, _ in list(_details(text)):
        text = text.replace(detail, f"[{kind}]")
    return text


def _details(text: str) -> Iterator[tuple[str, str, int]]:
    taken: list[tuple[int, int]] = []
    for kind, form in _FORMS.items():
        for match in form.finditer(text):
            start, end = match.span()
            is_free = all(end <= other or start >= last for other, last in taken)
            if is_free and _CHECKS.get(kind, bool)(match[0]):
                taken.append((start, end))
                yield kind, match[0], start
