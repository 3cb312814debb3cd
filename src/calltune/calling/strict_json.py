"""JSON from outside, read strictly: no NaN, no key twice, no bottomless nesting, no text that is none."""

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator
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


def parse_literal(text: str, where: str) -> Any:
    """A JSON value, or one that Python spells (`{'a': True}`); nothing in it is ever run.

    Raises:
        DataError: it is neither; what is wrong with it as JSON.
    """
    try:
        return parse_value(text, where)
    except DataError as error:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = ast.literal_eval(text.strip())
            return parse_value(json.dumps(value, allow_nan=False), where)
        except (DataError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise error from None


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


_SPACE = re.compile(r"[ \t\n\r]*")
_LENIENT = json.JSONDecoder(parse_int=str, parse_constant=str)


def read_array(text: str, where: str) -> Iterator[tuple[str, Any, str]]:
    """The elements of a JSON array, each with its place `where:number`, its value, and "".

    An element that is not strict JSON comes as its text, and with what is wrong with it.

    Raises:
        DataError: the array breaks off or is none; the elements before that place have been given.
    """
    place, number = _past_space(text, 0) + 1, 0
    while text[(place := _past_space(text, place)) : place + 1] != "]" or number:
        number += 1
        try:
            _, end = _LENIENT.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not a JSON array: {error.msg.removesuffix(' at')} in row {number}") from None
        except RecursionError:
            raise DataError(f"{where}: not a JSON array: row {number} is nested too deeply") from None
        element, here = text[place:end], f"{where}:{number}"
        try:
            row = (here, parse_value(element, here), "")
        except DataError as error:
            row = (here, element, str(error))
        yield row
        place = _past_space(text, end)
        if text[place : place + 1] == "]":
            break
        if text[place : place + 1] != ",":
            raise DataError(f"{where}: not a JSON array: no comma after row {number}")
        place += 1
    if text[place + 1 :].strip():
        raise DataError(f"{where}: not a JSON array: there is text after its end")


def _past_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place
