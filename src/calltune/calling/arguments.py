"""Which arguments a schema knows, through `$ref`, `allOf`, `anyOf` and `oneOf`, and by what a call is judged.

What is published stays as it is: it is what a model reads. Where it says something in another dialect than JSON Schema
2020-12 (OpenAPI's `nullable`, draft 4's `exclusiveMinimum: true`, ECMA's regular expressions), a copy is judged by.
"""

import functools
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jsonschema
import referencing
from jsonschema.exceptions import UnknownType
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

NO_SCHEMAS: Any = referencing.Registry()
"""Nothing is ever fetched."""

SCHEMA_FAILURES = (
    *(jsonschema.SchemaError, UnknownType, Unresolvable, RecursionError, re.error),
    *(TypeError, ValueError, AttributeError, LookupError, ArithmeticError),
)
"""jsonschema raises these on schemas that are not valid: keywords of a wrong type, circles, references to nowhere."""

_ONE = (
    *("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"),
    *("unevaluatedProperties", "unevaluatedItems", "additionalItems"),
)
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")


def argument_schemas(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return each argument that some branch of a tool's parameters knows, with the first branch's schema.

    A schema that is true or false is given as an empty one.
    """
    known: dict[str, Any] = {}
    for branch, _, _ in branches(parameters):
        properties = branch.get("properties")
        for name, schema in properties.items() if isinstance(properties, Mapping) else ():
            known.setdefault(name, schema if isinstance(schema, Mapping) else {})
    return known


def required_arguments(parameters: Mapping[str, Any]) -> list[str]:
    """Return the arguments that every call needs, in order: those of the schema and of what it always refers to."""
    lists = [branch.get("required") for branch, _, is_certain in branches(parameters) if is_certain]
    names = [name for names in lists if isinstance(names, list) for name in names if isinstance(name, str)]
    return list(dict.fromkeys(names))


def unknown_arguments(parameters: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return the names that no branch of a tool's parameters knows.

    There are none where a branch lets in others and none that always holds keeps them out, where Python cannot read
    which names are let in, and where a reference leads nowhere.
    """
    known, patterns, are_let_in, are_kept_out = set[str](), list[str](), False, False
    for branch, _, is_certain in branches(parameters):
        if branch is NOWHERE:
            return []
        known.update(branch["properties"] if isinstance(branch.get("properties"), Mapping) else ())
        patterns += branch["patternProperties"] if isinstance(branch.get("patternProperties"), Mapping) else ()
        for key in ("additionalProperties", "unevaluatedProperties"):
            are_let_in = are_let_in or branch.get(key) not in (None, False)
            are_kept_out = are_kept_out or (is_certain and branch.get(key) is False)
    if not all(map(is_readable, patterns)) or ((are_let_in or patterns) and not are_kept_out):
        return []
    return [name for name in names if name not in known and not any(re.search(one, name) for one in patterns)]


NOWHERE: Mapping[str, Any] = {"$ref": None}
"""Stands where a reference leads nowhere."""


def branches(schema: Mapping[str, Any], resolver: Any = None) -> Iterator[tuple[Mapping[str, Any], Any, bool]]:
    """Yield a schema and all schemas that the same object is judged by, each once.

    Args:
        schema: the schema to begin with.
        resolver: what its references are looked up with; by default it is a document of its own.

    Yields:
        The schema, what its references are looked up with, and whether it always holds, which one of several
        alternatives does not. `NOWHERE` is given for a reference that leads nowhere.
    """
    waiting, seen = [(schema, resolver, True)], set[tuple[int, bool]]()
    while waiting:
        branch, resolver, is_certain = waiting.pop(0)
        if not isinstance(branch, Mapping) or (id(branch), is_certain) in seen:
            continue
        seen.add((id(branch), is_certain))
        yield branch, resolver, is_certain
        if isinstance(reference := branch.get("$ref"), str):
            resolver = resolver or resolver_of(schema)
            try:
                resolved = resolver.lookup(reference)
                waiting.append((resolved.contents, resolved.resolver, is_certain))
            except SCHEMA_FAILURES:
                waiting.append((NOWHERE, resolver, is_certain))
        for key, certain in (("allOf", is_certain), ("anyOf", False), ("oneOf", False)):
            inner = branch.get(key)
            waiting += [(part, resolver, certain) for part in inner] if isinstance(inner, list) else []
        waiting += [(branch[key], resolver, False) for key in ("if", "then", "else") if key in branch]
        dependent = branch.get("dependentSchemas")
        waiting += [(part, resolver, False) for part in dependent.values()] if isinstance(dependent, Mapping) else []


def resolver_of(schema: Mapping[str, Any]) -> Any:
    """Return what looks up the references of a schema that is a document of its own."""
    named = schema if isinstance(schema.get("$id", ""), str) else {k: v for k, v in schema.items() if k != "$id"}
    return NO_SCHEMAS.resolver_with_root(DRAFT202012.create_resource(named))


def judged(schema: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a copy in JSON Schema 2020-12's words, and the patterns left out of it because Python cannot read them.

    References keep their meaning: what is published at a place stands there in the copy, too.
    """
    root, unread = dict(schema), list[str]()
    waiting = [root]
    while waiting:
        here = waiting.pop()
        _translate(here, unread)
        for key in _ONE:
            if isinstance(inner := here.get(key), Mapping):
                here[key] = dict(inner)
                waiting.append(here[key])
        for key in _LISTS:
            if isinstance(inner := here.get(key), list):
                here[key] = [dict(part) if isinstance(part, Mapping) else part for part in inner]
                waiting += [part for part in here[key] if isinstance(part, dict)]
        for key in _MAPS:
            if isinstance(inner := here.get(key), Mapping):
                here[key] = {name: dict(part) if isinstance(part, Mapping) else part for name, part in inner.items()}
                waiting += [part for part in here[key].values() if isinstance(part, dict)]
    return root, tuple(dict.fromkeys(unread))


def _translate(schema: dict[str, Any], unread: list[str]) -> None:
    for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(strict), bool):
            is_strict = schema.pop(strict)
            if is_strict and bound in schema:
                schema[strict] = schema.pop(bound)
    if any(schema.get(key) is True for key in ("nullable", "x-nullable")):
        _let_null_pass(schema)
    pattern, patterns = schema.get("pattern"), schema.get("patternProperties")
    if isinstance(pattern, str) and not is_readable(pattern):
        unread.append(pattern)
        del schema["pattern"]
    if isinstance(patterns, Mapping) and (others := [one for one in patterns if not is_readable(one)]):
        unread += others
        # Which names they let in is not known, so none is kept out.
        schema["patternProperties"] = {one: part for one, part in patterns.items() if one not in others}
        for key in ("additionalProperties", "unevaluatedProperties"):
            schema.pop(key, None)


def _let_null_pass(schema: dict[str, Any]) -> None:
    kind, values = schema.get("type"), schema.get("enum")
    if isinstance(kind, (str, list)):
        schema["type"] = list(dict.fromkeys([*([kind] if isinstance(kind, str) else kind), "null"]))
    if isinstance(values, list):
        schema["enum"] = [*values, None]
    if "const" in schema:
        schema["enum"] = [schema.pop("const"), None]
    if isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    # Of `oneOf` just one may fit, and null may fit several already.
    if always := {key: schema.pop(key) for key in ("$ref", "allOf", "oneOf") if key in schema}:
        schema["allOf"] = [{"anyOf": [always, {"type": "null"}]}]


@functools.lru_cache(maxsize=4096)
def is_readable(pattern: Any) -> bool:
    """Return whether Python reads a regular expression.

    Published ones are ECMA's, which has Unicode classes and names groups in another way.
    """
    try:
        with warnings.catch_warnings():
            # Python warns where it may read something else than what was meant.
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, Warning, RecursionError, OverflowError, TypeError):
        return False
    return True
