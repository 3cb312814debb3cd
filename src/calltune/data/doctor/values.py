"""Values that cannot be carried whole to a model or through a file, and nulls that nobody wrote."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from calltune.calling.identity import OncePerObject
from calltune.calling.schema import takes_null
from calltune.types import Tool, ToolCall

_NO_BRACKETS = re.compile(r"[^\[\]{}]+")
_PAIR = re.compile(r"\[\]|\{\}")
_MANY_DIGITS = re.compile(r"\d{19}")
_DEEPEST = 32
_VALUES = ("default", "const", "enum", "examples", "example")
"""Under these keywords of a schema null may be meant."""


def unsound(line: str, values: Callable[[], Any]) -> str:
    """Return why a row cannot be kept, or an empty string.

    A row cannot be kept when it is nested too deeply, or holds a number that is not JSON's or half of a character.

    Args:
        line: the row as one line of JSON, which clears most rows at once.
        values: gives all that is in the row, for the others.
    """
    try:
        line.encode()
    except UnicodeEncodeError:
        return "holds half of a character (a lone surrogate)"
    brackets, deepest = _NO_BRACKETS.sub("", line), 0
    # Each round takes the innermost level away. What is no pair stands in texts, and is looked at below.
    while brackets and deepest <= _DEEPEST and (outer := _PAIR.sub("", brackets)) != brackets:
        brackets, deepest = outer, deepest + 1
    is_flat = not brackets and deepest <= _DEEPEST
    if is_flat and not _MANY_DIGITS.search(line) and "NaN" not in line and "Infinity" not in line:
        return ""
    for place, inner in _walk(values()):
        if place > _DEEPEST:
            return f"holds values nested more than {_DEEPEST} deep"
        if isinstance(inner, float) and not math.isfinite(inner):
            return f"holds {inner}, which JSON does not have"
        if isinstance(inner, int) and not -(2**63) <= inner < 2**63:
            return f"holds {inner}, more than 64 bits"
    return ""


def _walk(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield all values inside a value with their depth, one level after the other.

    There is no recursion, whatever the depth.
    """
    level, depth = [value], 0
    while level and depth <= _DEEPEST + 1:
        yield from ((depth, inner) for inner in level)
        level, depth = [inner for outer in level for inner in _inside(outer)], depth + 1


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list | tuple) else ()


def null_padding(calls: Sequence[ToolCall], tools: Sequence[Tool]) -> str:
    """Return which nulls of a row's calls and tools Arrow has put there, or an empty string.

    Arrow gives every object of a column the keys of all of them, and null where there was no key. This shows as an
    argument that is null though its tool has none of that name or wants a value there, and as a keyword of a schema
    that is null.
    """
    known = {tool.name: tool for tool in tools}
    for call in calls:
        tool = known.get(call.name)
        nulls = [k for k, v in call.arguments.items() if v is None and not (tool and takes_null(tool, k))]
        if nulls:
            return f"the call of '{call.name}' is padded with nulls, as Arrow does: {', '.join(nulls[:5])}"
    for tool in tools:
        if keyword := _first_null_keyword(tool.parameters):
            return f"the schema of '{tool.name}' is padded with nulls, as Arrow does: {keyword}"
    return ""


def _null_keywords(schema: Mapping[str, Any]) -> Iterator[str]:
    for key, value in schema.items():
        if value is None and key not in _VALUES:
            yield key
        elif key == "properties" and isinstance(value, Mapping):
            yield from (name for name, inner in value.items() if inner is None)
            yield from (k for inner in value.values() if isinstance(inner, Mapping) for k in _null_keywords(inner))
        elif key == "items" and isinstance(value, Mapping):
            yield from _null_keywords(value)


_first_null_keyword = OncePerObject[str | None](lambda schema: next(_null_keywords(schema), None))
