"""Reads JSON from outside strictly.

NaN, a key that occurs twice in an object, bottomless nesting and text that is no Unicode are errors.
"""

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator
from typing import Any

from calltune.errors import DataError

MAX_DEPTH = 64
"""The most levels of nesting in a row from outside. Later code recurses, and no honest row comes near this."""


def parse_value(text: bytes | str, where: str) -> Any:
    """Return one JSON value from outside, read strictly: what JSON does not have, or no tokenizer takes, is an error.

    Raises:
        DataError: the text is not UTF-8 or not JSON, or it holds NaN, a number beyond a double, a key twice in one
            object, more than `MAX_DEPTH` levels, or half of a surrogate pair; the message begins with `where`.
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
    """Return the value that a text spells in JSON, or as Python does (`{'a': True}`). Nothing in it is ever run.

    Raises:
        DataError: the text spells neither; the message says what is wrong with it as JSON.
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
    """Return the value, if its nesting and its texts are such as `parse_value` lets pass.

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
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: half of a surrogate pair, \\u{ord(error.object[error.start]):x}, is no text"
        ) from None
    except ValueError:
        raise DataError(f"{where}: not valid JSON: a number in it is not finite") from None
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
    if len(last_values := dict(pairs)) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in last_values if keys.count(key) > 1)
        raise NotStrictError(f"the key {shortened(twice)} occurs twice in one object")
    return last_values


_STRICT = json.JSONDecoder(parse_constant=_constant, parse_float=_finite, object_pairs_hook=_unique)


def shortened(value: Any, limit: int = 60) -> str:
    """Return a value as a message shows it: on one line, a text in quotes, never longer than `limit`."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


_SPACE = re.compile(r"[ \t\n\r]*")
_LENIENT = json.JSONDecoder(parse_int=str, parse_constant=str)


def read_array(text: str, where: str) -> Iterator[tuple[str, Any, str]]:
    """Yield the elements of a JSON array, each with its place `where:number`, its value, and "".

    An element that is not strict JSON is given as its text, and what is wrong with it stands in place of "".

    Raises:
        DataError: the text is no array, or the array breaks off; the elements before that place have been given.
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


def read_objects(text: str, where: str) -> Iterator[tuple[str, Any, str]]:
    """Yield JSON objects that stand one after another, as `read_array` gives elements; nothing if the first is none.

    What is no JSON is given as its text, up to the next line that begins with a brace, with what is wrong with it.
    """
    place, number = _past_space(text, 0), 0
    while place < len(text):
        number += 1
        here = f"{where}:{number}"
        try:
            _, end = _LENIENT.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            if number == 1:
                return
            end = text.find("\n{", place + 1)
            end = end if end > 0 else len(text)
        try:
            row = (here, parse_value(text[place:end], here), "")
        except DataError as error:
            row = (here, text[place:end], str(error))
        yield row
        place = _past_space(text, end)
        # Some write a comma between the objects.
        place = _past_space(text, place + 1) if text[place : place + 1] == "," else place


def _past_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place
