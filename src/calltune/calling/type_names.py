"""What type names say in published tool schemas: `List[int]`, `str, optional`, `dict` -> JSON Schema.

The names are those of Python's annotations, of Java, and of docstrings; a schema's `type` may hold any of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calltune.calling.strict_json import parse_literal
from calltune.errors import DataError

JSON_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")

_NAMES = {
    **{name: name for name in JSON_TYPES},
    **dict.fromkeys(("str", "text", "char"), "string"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("float", "double"), "number"),
    "bool": "boolean",
    **dict.fromkeys(("dict", "hashmap", "mapping"), "object"),
    **dict.fromkeys(("list", "tuple", "set", "sequence", "arraylist"), "array"),
    "none": "null",
}
_GENERIC = re.compile(r"\s*(?:typing\.)?(\w+)\s*[\[(<](.*?)[\])>]?\s*", re.DOTALL)
_MAX_LENGTH = 400


@dataclass(frozen=True, slots=True)
class NamedType:
    """What a type's name means: a JSON Schema, of which an empty one accepts everything, and whether it is optional."""

    schema: Mapping[str, Any]
    optional: bool = False


def read_type(name: str) -> NamedType:
    """Return what a type's name means.

    `int` -> integer, `List[int]` -> array of integer, `Dict[str, int]` -> object of integers, `Union[int, str]` and
    `int | str` -> `anyOf`, `Literal["a"]` -> `enum`, `Optional[str]` and `str, optional` -> string, and optional. A
    name that is cut off inside its brackets means what stands before them. A name that says nothing (`any`, `callable`)
    accepts everything.
    """
    if len(name) > _MAX_LENGTH:
        return NamedType({})
    parts = _split(name.strip(), ",")
    optional = any(word in part.lower() for part in parts[1:] for word in ("optional", "default"))
    named = _read(parts[0] if optional else name.strip())
    return NamedType(named.schema, named.optional or optional)


def _read(text: str) -> NamedType:
    alternatives = _split(text, "|")
    if len(alternatives) > 1:
        return _union(alternatives)
    generic = _GENERIC.fullmatch(text)
    if not generic:
        known = _NAMES.get(text.strip().lower())
        return NamedType({"type": known} if known else {})
    outer, inner = generic[1].lower(), _split(generic[2], ",")
    if sum(map(text.count, "[(<")) != sum(map(text.count, "])>")):
        known = _NAMES.get(outer)
        return NamedType({"type": known} if known else {})
    if outer == "optional":
        return NamedType(_read(generic[2]).schema, True)
    if outer == "union":
        return _union(inner)
    if outer == "literal":
        return _literal(generic[2])
    known = _NAMES.get(outer)
    if known == "array" and len(inner) == 1:
        return NamedType({"type": "array", **_inside("items", inner[0])})
    if known == "object" and len(inner) == 2:
        return NamedType({"type": "object", **_inside("additionalProperties", inner[1])})
    return NamedType({"type": known} if known else {})


def _inside(key: str, name: str) -> dict[str, Any]:
    schema = _read(name).schema
    return {key: dict(schema)} if schema else {}


def _union(names: list[str]) -> NamedType:
    schemas = [dict(_read(name).schema) for name in names]
    kept = [schema for schema in schemas if schema != {"type": "null"}]
    optional = len(kept) < len(schemas)
    if not kept or not all(kept):
        return NamedType({}, optional)
    return NamedType(kept[0] if len(kept) == 1 else {"anyOf": kept}, optional)


def _literal(text: str) -> NamedType:
    try:
        values = parse_literal(f"[{text}]", "")
    except DataError:
        return NamedType({})
    kinds = {type(value) for value in values}
    if not values or not kinds <= {str, int, float, bool}:
        return NamedType({})
    kind = _NAMES[kinds.pop().__name__] if len(kinds) == 1 else None
    return NamedType({**({"type": kind} if kind else {}), "enum": values})


def _split(text: str, mark: str) -> list[str]:
    """Return the parts between marks that stand outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[(<":
            depth += 1
        elif letter in "])>":
            depth -= 1
        elif letter == mark and depth <= 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]
