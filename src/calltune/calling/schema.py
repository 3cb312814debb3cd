"""Tool schemas: whatever was published as parameters becomes JSON Schema; a call is checked against its own tool."""

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jsonschema

from calltune.calling.arguments import (
    NO_SCHEMAS,
    NOWHERE,
    SCHEMA_FAILURES,
    branches,
    judged,
    resolver_of,
    unknown_arguments,
)
from calltune.calling.edits import Change, Edits, pointer, tell, undo
from calltune.calling.identity import OncePerObject
from calltune.calling.schema_rules import edit_tool
from calltune.calling.strict_json import parse_value, shortened
from calltune.calling.tool_layouts import entries, unwrapped
from calltune.errors import DataError
from calltune.types import Tool, ToolCall

ProblemKind = Literal[
    "unknown_tool",
    "unknown_argument",
    "missing_argument",
    "wrong_type",
    "not_in_enum",
    "broken_rule",
    "invalid_schema",
]
_KIND_OF_KEYWORD: Mapping[Any, ProblemKind] = {
    "required": "missing_argument",
    "type": "wrong_type",
    "anyOf": "wrong_type",
    "oneOf": "wrong_type",
    "enum": "not_in_enum",
    "const": "not_in_enum",
    "additionalProperties": "unknown_argument",
    "unevaluatedProperties": "unknown_argument",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a call.

    `kind` is for counting, `argument` is the argument's dotted place ("" for the call itself), and `text` is a
    sentence.
    """

    kind: ProblemKind
    argument: str
    text: str

    def __str__(self) -> str:
        return self.text


def normalize_tools(raw: Any, where: str) -> tuple[Tool, ...]:
    """Return the tools that a row or a file offers.

    `raw` is a list of tools in any published layout, the JSON text of a list or of one tool, an object that holds the
    list (MCP's `{"tools": [...]}`, Bedrock's `toolConfig`), or nothing.

    Raises:
        DataError: one of them is no tool.
    """
    if isinstance(raw, str) and raw.strip():
        raw = parse_value(raw, where)
    if raw is None or isinstance(raw, str):
        return ()
    return tuple(normalize_tool(tool, place) for tool, place in entries(raw, where))


def normalize_tool(raw: Any, where: str) -> Tool:
    """Return a tool from any published layout, as `read_tool` does.

    The edits are told to the listener of `changes_told_to`, and so are patterns that no call can be judged by.

    Raises:
        DataError: as `read_tool` does.
    """
    tool, changes, unread = _read(raw, where)
    tell(where, tool.name, (*changes, *unread))
    return tool


def read_tool(raw: Any, where: str) -> tuple[Tool, tuple[Change, ...]]:
    """Return a tool from any published layout, and the edits that were made.

    `raw` is an object or its JSON text, in one of the layouts of `tool_layouts`. `schema_rules` says what is edited,
    and `published_tool` undoes it.

    Raises:
        DataError: the tool is not an object, has no name, its parameters are no object, or they stand where they are
            not read; the message begins with `where`.
    """
    tool, changes, _ = _read(raw, where)
    return tool, changes


def _read(raw: Any, where: str) -> tuple[Tool, tuple[Change, ...], tuple[Change, ...]]:
    try:
        return _read_tool(raw if isinstance(raw, str) else json.dumps(raw, allow_nan=False))
    except DataError as error:
        raise DataError(f"{where}: {str(error).removeprefix(': ')}") from None
    except RecursionError:
        raise DataError(f"{where}: a tool nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: a tool must be JSON: {error}") from None


def published_tool(tool: Tool, changes: Iterable[Change]) -> dict[str, Any]:
    """Return the tool as it was published: the object with the name, with every edit undone."""
    now = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return undo(json.loads(json.dumps(now, allow_nan=False)), changes)


@functools.lru_cache(maxsize=4096)
def _read_tool(text: str) -> tuple[Tool, tuple[Change, ...], tuple[Change, ...]]:
    """Read a tool from its JSON text: the tool, its edits, and the patterns that Python cannot read, as edits of none.

    The rows of one agent hold the same tools over and over. The cache makes equal ones one object.
    """
    raw = unwrapped(parse_value(text, ""))
    if not isinstance(raw, dict):
        raise DataError(f"a tool must be an object, not {type(raw).__name__}")
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        raise DataError("'name' is missing")
    edits = Edits()
    try:
        edit_tool(raw, edits)
    except DataError as error:
        raise DataError(f"tool {shortened(name)}: {error}") from None
    place = pointer(("parameters",))
    unread = tuple(Change("not_judged", "replace", place, one, one) for one in judged(raw["parameters"])[1])
    return Tool(name, raw["description"], raw["parameters"]), tuple(edits.changes), unread


def call_problems(call: ToolCall, tools: Iterable[Tool]) -> list[Problem]:
    """Return what is wrong with a call by the schema of its own tool; the list is empty if nothing is.

    An argument that no branch of the schema names is a problem, though JSON Schema by itself would let it pass, unless
    `additionalProperties` or `patternProperties` lets it in. A schema that is no JSON Schema, or that refers to one
    elsewhere, is itself a problem; nothing is ever fetched. A pattern that Python cannot read judges nothing.
    """
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        return [Problem("unknown_tool", "", f"there is no tool {shortened(call.name)}")]
    name, schema = shortened(call.name), tool.parameters
    unknown = unknown_arguments(schema, call.arguments)
    problems = [Problem("unknown_argument", key, f"{name} has no argument {shortened(key)}") for key in unknown]
    try:
        errors = list(_validator(schema).iter_errors(dict(call.arguments)))
    except SCHEMA_FAILURES as error:
        text = f"the schema of {name} is not valid: {type(error).__name__} {_one_line(str(error))}"
        return [*problems, Problem("invalid_schema", "", text)]
    for error in errors:
        place = ".".join(str(part) for part in error.absolute_path)
        kind = _KIND_OF_KEYWORD.get(error.validator, "broken_rule")
        if kind != "unknown_argument" or place:
            text = f"{name} {shortened(place)[1:-1] + ': ' if place else ''}{_one_line(error.message)}"
            problems.append(Problem(kind, place, text))
    return problems


def drop_null_padding(call: ToolCall, tools: Iterable[Tool]) -> tuple[ToolCall, tuple[Change, ...]]:
    """Return the call without the nulls that Arrow writes where other rows have arguments, and what was dropped.

    A null is dropped when the tool's schema does not name its argument, or when the schema names it, does not require
    it, and does not allow null. Objects and lists inside are treated alike where the schema describes them.
    """
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None or not _holds_null(call.arguments):
        return call, ()
    edits = Edits()
    arguments = json.loads(json.dumps(dict(call.arguments), allow_nan=False))
    schema = judged(tool.parameters)[0]
    _drop_nulls(arguments, [(schema, resolver_of(schema))], ("arguments",), edits)
    return (ToolCall(call.name, arguments), tuple(edits.changes)) if edits.changes else (call, ())


def _holds_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_null, value.values()))
    return any(map(_holds_null, value)) if isinstance(value, list) else value is None


_Described = list[tuple[Any, Any]]
"""The schemas of one value, from several branches, each with what looks up its references."""


def _drop_nulls(value: Any, described: _Described, path: tuple[Any, ...], edits: Edits) -> None:
    found = [one for schema, resolver in described for one in branches(schema, resolver)]
    if isinstance(value, list):
        items = [(branch["items"], resolver) for branch, resolver, _ in found if "items" in branch]
        for place, element in enumerate(value):
            _drop_nulls(element, items, (*path, place), edits)
        return
    named: dict[str, _Described] = {}
    for branch, resolver, _ in found:
        properties = branch.get("properties")
        for key, schema in properties.items() if isinstance(properties, Mapping) else ():
            named.setdefault(key, []).append((schema, resolver))
    if not isinstance(value, dict) or not any(isinstance(branch.get("properties"), Mapping) for branch, _, _ in found):
        return
    lists = [branch.get("required") for branch, _, is_certain in found if is_certain]
    required = {str(name) for names in lists if isinstance(names, list) for name in names}
    is_whole = not any(branch is NOWHERE for branch, _, _ in found)
    for key in [key for key, element in value.items() if element is None]:
        is_meant = any(_allows_null(*one) for one in named[key]) if key in named else not is_whole
        if key not in required and not is_meant:
            edits.drop("null_argument", value, path, key)
    for key, element in value.items():
        _drop_nulls(element, named.get(key, []), (*path, key), edits)


def _allows_null(schema: Any, resolver: Any) -> bool:
    try:
        return next(_ANY.descend(None, schema, resolver=resolver), None) is None
    except SCHEMA_FAILURES:
        return True


def takes_null(tool: Tool, argument: str) -> bool:
    """Return whether a tool knows an argument, and some branch of its schema lets it be null."""
    schema = judged(tool.parameters)[0]
    named = [
        (branch["properties"][argument], resolver)
        for branch, resolver, _ in branches(schema, resolver_of(schema))
        if isinstance(branch.get("properties"), Mapping) and argument in branch["properties"]
    ]
    return any(_allows_null(*one) for one in named)


_validator = OncePerObject[Any](lambda schema: jsonschema.Draft202012Validator(judged(schema)[0], registry=NO_SCHEMAS))
"""What judges by a schema. One that fails to be made is tried again with each call."""

_ANY: Any = jsonschema.Draft202012Validator(True, registry=NO_SCHEMAS)


def _one_line(text: str) -> str:
    """Return a library's sentence on one line and of bounded length.

    Its end is kept, because it says what was expected.
    """
    text = " ".join(text.split())
    return text if len(text) <= 240 else f"{text[:120]} ... {text[-116:]}"
