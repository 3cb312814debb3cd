"""Where a text holds personal details: Presidio's pattern recognisers, calltune's rule of secrets, one's own patterns.

The recognisers are asked one by one, without Presidio's engine and so without a language model. What the engine would
do beside them is done here: a weak match counts only where a word of its recogniser's context stands shortly before.
"""

import fnmatch
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from calltune.config.redact import SECRET, RedactConfig
from calltune.config.secrets import names_secret, secret_spans
from calltune.config.table import unknown_key
from calltune.data.redact.phones import PHONE, national_digits
from calltune.errors import ConfigError

EMAIL = "email_address"
EXACT_KINDS = frozenset((EMAIL, "ip_address", SECRET))
"""Kinds whose values are not a row of letters and digits that may be written with other separators."""

_ENOUGH = 0.4
"""The least score of a match that counts without a word of context; Presidio's phone numbers have it."""

_NUM_CONTEXT_WORDS = 5
_SAYS_LITTLE = frozenset(("us", "united", "states", "check", "call", "number", "id", "pass", "tax", "save", "debit"))
"""Words of some recognisers' context that stand before numbers of all kinds."""

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SEVEN_DIGITS = re.compile(r"\d(?:\D{0,4}\d){6}")
_CODED_EMAIL = re.compile(r"(?<![\w.%+-])[\w.+-]+%40[\w-]+(?:\.[\w-]+)+", re.ASCII)
_TIMESTAMP = re.compile(r"1\d{9}")
_PHONE_KEYS = frozenset(("phone", "telephone", "mobile", "cell", "cellphone", "fax", "tel", "msisdn", "whatsapp"))
_PHONE_SHAPE = re.compile(r"\+?[\d\s().\-/]{7,24}")
_CARD_KEYS = frozenset(("card", "pan", "cc", "creditcard"))
_CARD_SHAPE = re.compile(r"\d(?:[ -]?\d){12,18}")
_PASSWORD_KEYS = frozenset(("password", "passwd", "passphrase", "pwd"))
_SHORTEST_PASSWORD = 4
_SHORTEST_SECRET = 16
_NEEDS_NO_DIGIT = frozenset((EMAIL, "url", "crypto"))
_ESCAPE = re.compile(r"\\[nrtbf\"\\/]")


@dataclass(frozen=True, slots=True)
class Detail:
    """A personal detail of a text: where it is, its kind, and the form that all ways to write it share."""

    start: int
    end: int
    kind: str
    canonical: str


class Finder:
    """Looks for the kinds of `[data.redact]`; each text is looked at once, however often it comes."""

    def __init__(self, settings: RedactConfig) -> None:
        """Load the recognisers.

        Raises:
            ConfigError: Presidio is not installed, or does not have a kind.
        """
        self._own = {name: re.compile(pattern) for name, pattern in settings.patterns.items()}
        self._keep = [text.casefold() for text in settings.keep]
        self._has_secrets = SECRET in settings.kinds
        known = _recognizers()
        for kind in settings.kinds:
            if kind not in known and kind != SECRET:
                problem = unknown_key(kind, [*known, SECRET]).replace("unknown key", "unknown kind", 1)
                raise ConfigError(f"data.redact.kinds: {problem}")
        self._recognizers = {kind: known[kind] for kind in dict.fromkeys(settings.kinds) if kind != SECRET}
        self.exact_kinds = EXACT_KINDS | self._own.keys()
        self.details = lru_cache(maxsize=1 << 16)(self._details)

    def score(self, kind: str, text: str) -> float:
        """Return from 0 to 1 how sure it is that all of a text is a value of a kind; one without a rule takes all."""
        if kind in self._own:
            match = self._own[kind].search(text)
            return float(match is not None and match.span() == (0, len(text)))
        if kind not in self._recognizers:
            return 1.0
        results = self._recognizers[kind].analyze(text, [kind.upper()], None)
        return max((result.score for result in results if (result.start, result.end) == (0, len(text))), default=0.0)

    def under(self, key: str, text: str) -> tuple[Detail, ...]:
        """Return what a whole value is by the name of the key it stands under; nothing where that says nothing."""
        words = _words(key)
        whole, digits = text.strip(), re.sub(r"\D", "", text)
        kind = self._kind_under(key, words, whole)
        if not kind or (kind != SECRET and not 7 <= len(digits) <= 19):
            return self.details(text, " ".join(sorted(words)))
        start = text.index(whole)
        detail = self._detail(text, start, start + len(whole), kind)
        return () if self._is_kept(whole, detail.canonical) else (detail,)

    def _kind_under(self, key: str, words: set[str], whole: str) -> str:
        """Return as what the name of a key tells a value, or an empty string."""
        if PHONE in self._recognizers and words & _PHONE_KEYS and _PHONE_SHAPE.fullmatch(whole):
            return PHONE
        if "credit_card" in self._recognizers and words & _CARD_KEYS and _CARD_SHAPE.fullmatch(whole):
            return "credit_card"
        if not self._has_secrets or " " in whole:
            return ""
        is_password = words & _PASSWORD_KEYS and len(whole) >= _SHORTEST_PASSWORD
        return SECRET if is_password or (names_secret(key) and len(whole) >= _SHORTEST_SECRET) else ""

    def of_number(self, key: str, text: str) -> tuple[Detail, ...]:
        """Return what a number is, all of it; only a card's number needs no key that tells it."""
        found = [detail for detail in self.under(key, text) if (detail.start, detail.end) == (0, len(text))]
        words = _words(key)
        return tuple(detail for detail in found if detail.kind != PHONE or words & _PHONE_KEYS)

    def canonical(self, kind: str, text: str) -> str:
        """Return the form that all ways to write a value share."""
        if kind == PHONE:
            return national_digits(text)
        if kind == EMAIL:
            return text.replace("%40", "@").casefold()
        if kind in self.exact_kinds:
            return text
        return "".join(char for char in text if char.isalnum()).upper() or text

    def _details(self, text: str, context: str = "") -> tuple[Detail, ...]:
        """Return the details of a text, in order, none overlapping another; `context` are words before it."""
        # An escape of JSON's in a text that is no JSON as a whole ends a word as a space does.
        seen = _ESCAPE.sub("  ", text) if "\\" in text else text
        matches = sorted(self._matches(seen, context), key=lambda match: (-match[0], match[1] - match[2], match[1]))
        taken: list[Detail] = []
        for _, start, end, kind in matches:
            if all(end <= other.start or start >= other.end for other in taken):
                detail = self._detail(text, start, end, kind)
                if not self._is_kept(text[start:end], detail.canonical):
                    taken.append(detail)
        return tuple(sorted(taken, key=lambda detail: detail.start))

    def _matches(self, text: str, context: str) -> Iterator[tuple[float, int, int, str]]:
        """Yield score, start, end and kind of what may be a detail; one's own patterns and secrets come first."""
        for kind, pattern in self._own.items():
            yield from ((3.0, *match.span(), kind) for match in pattern.finditer(text) if match[0])
        if self._has_secrets:
            yield from ((2.0, start, end, SECRET) for start, end in secret_spans(text))
        has_digit = any(char.isdigit() for char in text)
        for kind, recognizer in self._recognizers.items():
            if kind == EMAIL and "%40" in text:
                yield from ((1.0, *match.span(), EMAIL) for match in _CODED_EMAIL.finditer(text))
            if (kind == EMAIL and "@" not in text) or (kind not in _NEEDS_NO_DIGIT and not has_digit):
                continue
            if kind == PHONE and not _SEVEN_DIGITS.search(text):
                continue
            for result in recognizer.analyze(text, [kind.upper()], None):
                if self._counts(result, recognizer, text, context, kind):
                    yield result.score, result.start, result.end, kind

    def _counts(self, result: Any, recognizer: Any, text: str, context: str, kind: str) -> bool:
        is_timestamp = kind == PHONE and _TIMESTAMP.fullmatch(text, result.start, result.end)
        if kind == "ip_address" and text[result.start : result.end] in ("127.0.0.1", "0.0.0.0", "::", "::1"):
            return False
        if result.score >= _ENOUGH and not is_timestamp:
            return True
        before = _WORD.findall(f"{context} {text[max(0, result.start - 120) : result.start]}".casefold())
        near = {*before[-_NUM_CONTEXT_WORDS:], *context.casefold().split()}
        of_kind = {word for words in recognizer.context or () for word in _WORD.findall(words.casefold())}
        return bool(near & (of_kind - _SAYS_LITTLE))

    def _detail(self, text: str, start: int, end: int, kind: str) -> Detail:
        return Detail(start, end, kind, self.canonical(kind, text[start:end]))

    def _is_kept(self, text: str, canonical: str) -> bool:
        forms = (text.casefold(), canonical.casefold())
        return any(fnmatch.fnmatchcase(form, kept) for kept in self._keep for form in forms)


def _words(key: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(_CAMEL.sub(" ", key))}


def _recognizers() -> dict[str, Any]:
    """Return Presidio's recognisers that look for a pattern, by their entity in small letters."""
    try:
        with warnings.catch_warnings():
            # It loads whatever engine of language is installed, and these warn of their own dependencies.
            warnings.simplefilter("ignore")
            from presidio_analyzer import PatternRecognizer, predefined_recognizers
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"data.redact: needs the package '{error.name}', which is not installed: pip install 'calltune[redact]'"
        ) from None
    # Its own class asks the internet for the list of top-level domains, and passes over addresses inside a company.
    patterns, context = predefined_recognizers.EmailRecognizer.PATTERNS, predefined_recognizers.EmailRecognizer.CONTEXT
    found: dict[str, Any] = {
        EMAIL: PatternRecognizer(EMAIL.upper(), patterns=patterns, context=context),
        PHONE: predefined_recognizers.PhoneRecognizer(),
    }
    for _, made in sorted(vars(predefined_recognizers).items()):
        if inspect.isclass(made) and issubclass(made, PatternRecognizer):
            make: Any = made
            recognizer = make()
            found.setdefault(recognizer.supported_entities[0].lower(), recognizer)
    return found
