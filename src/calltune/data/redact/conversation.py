"""All personal details of one conversation, found in every place of it, and then replaced in every place.

A value that is told from one place (the key it stands under, the words before it) is known in all others.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from calltune.config.redact import SECRET
from calltune.data.redact.finder import Detail, Finder
from calltune.data.redact.phones import PHONE
from calltune.data.redact.stand_ins import StandIns

_JSON_START = re.compile(r"\s*[\[{\"]")
_JSON_PART = re.compile(r'"(?:[^"\\]|\\.)*"|(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?', re.DOTALL)
_SEPARATED = re.compile(r"[\d\s().\-/]*")
_SHORTEST, _LONG_WORD = 4, 8
"""Shorter values, and shorter passwords that are plain words, are replaced in other texts only as the whole text."""

_SHORTEST_DIGITS = 7
_WORD = re.compile(r"[^\W_]+")
_ASCII_ESCAPE = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_CUT = re.compile(r"[\w.+%-]*(?:@|\d{5})[\w.@%+-]*\.\.\.")
_MOST_SIGNS = 80


class Conversation:
    """What is known of a conversation's personal details; first everything is heard, then everything is rewritten."""

    def __init__(self, finder: Finder, stand_ins: StandIns, path: str = "") -> None:
        """Begin with nothing known; `path` is that of the source's files, whose names stay as they are."""
        self._finder, self._stand_ins = finder, stand_ins
        self._place = re.compile(re.escape(path) + r"[^:\n]*(?::\d+(?:#\d+)?)?") if path else None
        self.values: dict[str, tuple[str, str]] = {}
        """Each value's kind and one way to write it, by its canonical form."""
        self._forms: dict[str, str] = {}
        self._forms_of: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._digits: list[str] = []
        self._weak = set[str]()
        self.attempts: dict[str, int] = {}
        """Which stand-in of a value is taken; the first, where nothing is said."""
        self._met = set[tuple[str, str]]()
        self._texts = dict[str, str]()

    # What is heard.

    def hear(self, value: Any, key: str = "") -> None:
        """Find the details of any JSON value; `key` is the name it stands under."""
        if isinstance(value, str):
            if (key, value) not in self._met:
                self._met.add((key, value))
                parsed = _parsed(value)
                if parsed is None:
                    self._know(value, self._finder.under(key, value) if key else self._finder.details(value))
                else:
                    self.hear(parsed, key)
        elif isinstance(value, dict):
            for name, inner in value.items():
                self._know(str(name), self._finder.details(str(name)))
                self.hear(inner, str(name))
        elif isinstance(value, list | tuple):
            for inner in value:
                self.hear(inner, key)
        elif (text := _whole_number(value)) is not None:
            self._know(text, self._finder.of_number(key, text))

    def _know(self, text: str, details: Iterable[Detail]) -> None:
        for detail in details:
            written = text[detail.start : detail.end]
            kind = self._stand_ins.kind_of(detail.canonical, detail.kind)
            if (canonical := detail.canonical) not in self.values:
                self.values[canonical] = (kind, written)
                if len(canonical) >= _SHORTEST_DIGITS and canonical.isascii() and canonical.isdigit():
                    self._digits.append(canonical)
            if written not in self._forms:
                self._forms[written] = canonical
                if len(written) < _SHORTEST or (kind == SECRET and written.isalpha() and len(written) < _LONG_WORD):
                    self._weak.add(written)
                if word := _WORD.search(written):
                    self._forms_of[word[0]].append((written, word.start()))

    # What is rewritten.

    def forget_texts(self) -> None:
        """Rewrite all texts anew, as `attempts` are others."""
        self._texts.clear()

    def value(self, value: Any) -> Any:
        """Return any JSON value with stand-ins in its texts, keys and numbers; types stay as they are."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self._key(name): self.value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        if (text := _whole_number(value)) is not None:
            return type(value)(int(self._number(text)))
        return value

    def _key(self, name: Any) -> Any:
        return self.text(name) if isinstance(name, str) else name

    def text(self, text: str) -> str:
        """Return a text with stand-ins; in JSON text only the parts that change are written anew."""
        if text not in self._texts:
            is_json = _parsed(text) is not None
            self._texts[text] = _JSON_PART.sub(self._part, text) if is_json else self._replaced(text)
        return self._texts[text]

    def _part(self, match: re.Match[str]) -> str:
        part = match[0]
        if part[0] != '"':
            return self._number(part)
        old = json.loads(part)
        new = self.text(old)
        return part if new == old else json.dumps(new, ensure_ascii=part.isascii(), allow_nan=False)

    def _number(self, text: str) -> str:
        sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
        if not digits.isdigit():
            return text
        return sign + self._replaced(digits, is_number=True)

    def _replaced(self, text: str, *, is_number: bool = False) -> str:
        details = () if is_number else self._finder.details(text)
        self._know(text, details)
        spans = [(detail.start, detail.end, detail.canonical) for detail in details]
        for start, end, canonical in [*self._known_forms(text), *self._known_digits(text)]:
            if all(end <= other[0] or start >= other[1] for other in spans):
                spans.append((start, end, canonical))
        new, place = list[str](), 0
        for start, end, canonical in sorted(spans):
            new += [text[place:start], self._stand_in(canonical, text[start:end])]
            place = end
        return "".join([*new, text[place:]]) if spans else text

    def _stand_in(self, canonical: str, text: str) -> str:
        kind, seen = self.values[canonical]
        new = self._stand_ins.of(canonical, kind, seen, self.attempts.get(canonical, 0))
        return self._stand_ins.written(kind, text, canonical, new)

    def _known_forms(self, text: str) -> Iterable[tuple[int, int, str]]:
        """Yield where a known value stands as it was written elsewhere, as a word of its own."""
        for word in _WORD.finditer(text) if self._forms else ():
            for form, offset in self._forms_of.get(word[0], ()):
                start = word.start() - offset
                end = start + len(form)
                if start < 0 or (form in self._weak and form != text) or not text.startswith(form, start):
                    continue
                if not (end < len(text) and text[end].isalnum() and form[-1].isalnum()):
                    yield start, end, self._forms[form]

    def _known_digits(self, text: str) -> Iterable[tuple[int, int, str]]:
        """Yield where the digits of a known value stand, with whatever separators; of a phone behind a code, too."""
        places = [place for place, char in enumerate(text) if char in "0123456789"] if self._digits else []
        digits = "".join(text[place] for place in places)
        for canonical in sorted(self._digits, key=lambda c: (-len(c), c)) if len(digits) >= _SHORTEST_DIGITS else ():
            first = digits.find(canonical)
            while first >= 0:
                last = first + len(canonical) - 1
                start, end = places[first], places[last] + 1
                before = re.search(r"\d*$", text[max(0, start - 6) : start])
                num_before = len(before[0]) if before else 0
                is_whole = not text[end : end + 1].isdigit() and (
                    num_before == 0 or (self.values[canonical][0] == PHONE and num_before <= 4)
                )
                if is_whole and _SEPARATED.fullmatch(text, start, end):
                    yield start, end, canonical
                first = digits.find(canonical, first + 1)

    def placed(self, text: str) -> str:
        """Return a text with stand-ins behind the place in a file that it begins with: the row can be looked up."""
        match = self._place.match(text) if self._place else None
        end = match.end() if match else 0
        return text[:end] + self.text(text[end:])

    def reason(self, reason: str) -> str:
        """Return a message with stand-ins; what it shows of a value that it cuts off goes too."""
        pieces = reason.split("...")
        for number, piece in enumerate(pieces[:-1]):
            for form, canonical in self._forms.items():
                longest = min(len(form) - 1, _MOST_SIGNS)
                shown = next((n for n in range(longest, _SHORTEST - 1, -1) if piece.endswith(form[:n])), 0)
                if shown:
                    pieces[number] = piece[:-shown] + self._stand_in(canonical, form)[:shown]
        return self.placed(_CUT.sub("...", "...".join(pieces)))

    def raw(self, row: Any) -> Any:
        """Return a row that could not be read, as JSON value or as text, with stand-ins in all of it."""
        if isinstance(row, str) and _parsed(row) is None:
            return self.text(decoded(row))
        return self.value(row)


def decoded(text: str) -> str:
    """Return a text that is no JSON without the escapes of JSON that would hide a plain letter or sign."""
    return _ASCII_ESCAPE.sub(
        lambda match: match[0] if match[1].lower() in ("22", "5c") else chr(int(match[1], 16)), text
    )


def _parsed(text: str) -> Any:
    """Return the list, object or text that a JSON text holds, or None."""
    if not _JSON_START.match(text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list | str) else None


def _whole_number(value: Any) -> str | None:
    """Return the digits of a whole number that is written as one, or as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else None
    return str(value) if abs(value) < 10**30 else None
