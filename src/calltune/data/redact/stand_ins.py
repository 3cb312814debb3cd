"""What stands in the place of a personal detail: a made-up value of the same kind, made of the value and a key.

The same value gets the same stand-in in the whole run, and no two values get one. Where a checksum belongs to the kind,
the stand-in has it, too.
"""

import hashlib
import ipaddress
import re
import string

from calltune.config.redact import SECRET
from calltune.data.redact.finder import EMAIL, Finder
from calltune.data.redact.phones import PHONE, other_number

_DOMAINS = ("example.com", "example.org", "example.net")
_MAX_TRIES, _FEW_TRIES = 20_000, 200
"""The most for a first value of a kind (a date and a checksum fit one time in thousands); few once that was in vain."""

_NOT_CHECKED = frozenset(("crypto", SECRET))
"""Kinds whose stand-ins keep the shape alone: no search would hit a wallet's checksum."""

_FEW = 6
"""Fewer letters and digits before the `@` of an address would soon be used up."""

_TOKEN_START = re.compile(
    r"sk-|hf_|AKIA|ASIA|gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-|AIza|eyJ|ya29\.|pypi-|npm_|nvapi-|dapi"
)
"""What tells the service of a token and nothing of the token."""


class Stream:
    """Random letters and digits that a key and a label alone decide."""

    def __init__(self, key: bytes, label: str) -> None:
        self._key, self._label, self._block, self._bytes = key, label.encode("utf-8", "surrogatepass"), 0, b""

    def below(self, number: int) -> int:
        """Return a whole number from 0 up to, and without, `number`, which is at most 2**16."""
        if len(self._bytes) < 4:
            data = self._block.to_bytes(8, "big") + self._label
            self._bytes, self._block = hashlib.blake2b(data, key=self._key).digest(), self._block + 1
        taken, self._bytes = self._bytes[:4], self._bytes[4:]
        return int.from_bytes(taken, "big") % number

    def one_of(self, characters: str) -> str:
        """Return one of some characters."""
        return characters[self.below(len(characters))]

    def like(self, text: str, *, is_hex: bool = False) -> str:
        """Return a text of the same shape: digits for digits, capitals for capitals, all other signs as they are."""
        new = list[str]()
        for place, char in enumerate(text):
            if char.isdigit():
                # A number that does not begin with zero must not become one that does.
                new.append(self.one_of(string.digits if place or char == "0" else "123456789"))
            elif char.isalpha():
                letter = self.one_of("abcdef" if is_hex else string.ascii_lowercase)
                new.append(letter.upper() if char.isupper() else letter)
            else:
                new.append(char)
        return "".join(new)


class StandIns:
    """The stand-ins of a run."""

    def __init__(self, key: bytes, finder: Finder) -> None:
        self._key, self._finder = hashlib.blake2b(key, digest_size=32).digest(), finder
        self._made: dict[tuple[str, int], str] = {}
        self._kinds: dict[str, str] = {}
        self._taken: set[str] = set()
        self._in_vain: set[str] = set()

    def kind_of(self, canonical: str, kind: str) -> str:
        """Return the kind as which a value was first met, which its stand-in has."""
        return self._kinds.setdefault(canonical, kind)

    def of(self, canonical: str, kind: str, seen: str, attempt: int = 0) -> str:
        """Return the canonical form of a value's stand-in.

        Args:
            seen: the value as some text writes it, for the checks that need its separators.
            attempt: another number gives another stand-in, for where the first one does not fit.
        """
        kind = self.kind_of(canonical, kind)
        if (canonical, attempt) not in self._made:
            stream = Stream(self._key, f"{kind}\0{canonical}\0{attempt}")
            new = self._make(kind, canonical, stream, attempt)
            for _ in range(_FEW_TRIES if kind in self._in_vain else _MAX_TRIES):
                if new != canonical and new not in self._taken and self._fits(kind, canonical, new, seen):
                    break
                new = self._make(kind, canonical, stream, attempt)
            else:
                self._in_vain.add(kind)
            self._taken.add(new)
            self._made[canonical, attempt] = new
        return self._made[canonical, attempt]

    def _fits(self, kind: str, canonical: str, new: str, seen: str) -> bool:
        if kind in _NOT_CHECKED or (least := self._finder.score(kind, seen)) == 0:
            return True
        return self._finder.score(kind, self.written(kind, seen, canonical, new)) >= least

    def written(self, kind: str, text: str, canonical: str, new: str) -> str:
        """Return a stand-in written as a text writes the value, with the same separators and capitals."""
        if kind == EMAIL:
            new = new.replace("@", "%40") if "%40" in text else new
            return new.upper() if text.isupper() else new
        if kind in self._finder.exact_kinds:
            return new
        if kind == PHONE:
            places = [place for place, char in enumerate(text) if char.isdigit()]
            first = max(0, "".join(text[place] for place in places).find(canonical))
            places = places[first : first + len(canonical)]
        else:
            places = [place for place, char in enumerate(text) if char.isalnum()]
        signs = list(text)
        for place, sign in zip(places, new, strict=False):
            signs[place] = sign.lower() if signs[place].islower() else sign
        return "".join(signs)

    def _make(self, kind: str, value: str, stream: Stream, attempt: int) -> str:
        if kind == EMAIL:
            return _email(value, stream, is_short=attempt % 2 == 1)
        if kind == PHONE:
            return other_number(value, stream.like)
        if kind == "credit_card":
            digits = value[:2] + stream.like(value[2:-1])
            return digits + str(-_luhn(f"{digits}0") % 10)
        if kind == "iban_code" and len(value) > 4:
            rest = stream.like(value[4:])
            numbers = "".join(str(int(sign, 36)) for sign in f"{rest}{value[:2]}00")
            return f"{value[:2]}{98 - int(numbers) % 97:02d}{rest}"
        if kind == "ip_address":
            return _address(value, stream)
        if kind == SECRET:
            begun = _TOKEN_START.match(value)
            cut = begun.end() if begun else 0
            return value[:cut] + stream.like(value[cut:])
        return stream.like(value, is_hex=kind == "mac_address")


def _email(value: str, stream: Stream, *, is_short: bool) -> str:
    """Return an address at a domain that belongs to nobody; a short one is no longer than the value, if it can be."""
    name = value.partition("@")[0]
    domain = _DOMAINS[stream.below(len(_DOMAINS))]
    if is_short:
        length = max(1, min(len(name), len(value) - len(domain) - 1))
        return f"{stream.like('a' * length)}@{domain}"
    more = "a" * max(0, _FEW - sum(char.isalnum() for char in name))
    return f"{stream.like(name.rstrip('.') + more)}@{domain}"


def _address(value: str, stream: Stream) -> str:
    """Return an address of those that are set apart for tests, or as private as the value."""
    plain, slash, bits = value.partition("/")
    try:
        address = ipaddress.ip_address(plain.partition("%")[0])
    except ValueError:
        return stream.like(value, is_hex=True)
    if address.version == 6:
        new = "2001:db8:" + ":".join(f"{stream.below(1 << 16):x}" for _ in range(6))
    elif address.is_private:
        head, _, rest = plain.partition(".")
        keeps = 2 if head in ("192", "172") else 1
        parts = [part if place < keeps else str(1 + stream.below(254)) for place, part in enumerate(plain.split("."))]
        new = ".".join(parts) if rest else plain
    else:
        new = f"198.{18 + stream.below(2)}.{stream.below(256)}.{1 + stream.below(254)}"
    return f"{new}{slash}{bits}"


def _luhn(digits: str) -> int:
    """Return the sum of Luhn's rule; that of a valid number ends with zero."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in doubled)
