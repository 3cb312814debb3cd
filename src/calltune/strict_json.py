"""JSON from outside, read strictly: no NaN, no key twice, no bottomless nesting, no text that is none."""

import json
import math
from typing import Any

from calltune.errors import DataError

MAX_DEPTH = 64
"""Levels of nesting in a row from outside; what works on rows later recurses, and no honest row comes near."""


def parse_value(text: bytes | str, where: str) -> Any:
    """One JSON value from outside, read strictly: what JSON does not have, or no tokenizer takes, is an error.

    Raises:
        DataError: not UTF-8, not JSON, NaN or a number beyond a double, a key twice in one object, more than
            `MAX_DEPTH` levels, half of a surrogate pair; the message begins with `where`.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return check_value(_STRICT.decode(text), where)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from None
    except NotStrictError as error:
        raise DataError(f"{where}: not valid JSON: {error}") from None
    except ValueError:
        raise DataError(f"{where}: not valid JSON: a number of thousands of digits") from None
    except RecursionError:
        raise DataError(f"{where}: JSON nested too deeply") from None


def check_value(value: Any, where: str) -> Any:
    """The value, if its nesting and its texts are what `parse_value` lets pass.

    Raises:
        DataError: they are not.
    """
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise DataError(f"{where}: JSON nested too deeply: more than {MAX_DEPTH} levels")
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        depth += 1
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: half of a surrogate pair, \\u{ord(error.object[error.start]):x}, is no text"
        ) from None
    return value


class NotStrictError(ValueError):
    """Something that Python's parser takes and JSON does not have; the text says what."""


def _constant(name: str) -> Any:
    raise NotStrictError(f"{name} is no number")


def _finite(text: str) -> float:
    if (number := float(text)) in (math.inf, -math.inf):
        raise NotStrictError(f"the number {shortened(text)} is beyond a double")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise NotStrictError(f"the key {shortened(twice)} occurs twice in one object")
    return found


_STRICT = json.JSONDecoder(parse_constant=_constant, parse_float=_finite, object_pairs_hook=_unique)


def shortened(value: Any, limit: int = 60) -> str:
    """A value for a message: in one line, in quotes if it is a text, never longer than `limit`."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
