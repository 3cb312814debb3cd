"""Tool schemas: whatever was published as parameters becomes JSON Schema; a call is checked against its own tool."""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jsonschema
import referencing
from jsonschema.exceptions import UnknownType
from referencing.exceptions import Unresolvable

from calltune.calling.edits import Change, Edits, tell, undo
from calltune.calling.schema_rules import edit_tool
from calltune.calling.strict_json import parse_value, shortened
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
_NO_SCHEMAS = referencing.Registry()
# jsonschema raises these on schemas that are not valid: keywords of a wrong type, wrong patterns, circles.
_SCHEMA_FAILURES = (
    *(jsonschema.SchemaError, UnknownType, Unresolvable, RecursionError, re.error),
    *(TypeError, ValueError, AttributeError, LookupError, ArithmeticError),
)


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


def normalize_tool(raw: Any, where: str) -> Tool:
    """Return a tool from any published layout, as `read_tool` does.

    The edits are told to the listener of `changes_told_to`.

    Raises:
        DataError: the tool is not an object, has no name, or its parameters are no object; the message begins with
            `where`.
    """
    tool, changes = read_tool(raw, where)
    tell(where, tool.name, changes)
    return tool


def read_tool(raw: Any, where: str) -> tuple[Tool, tuple[Change, ...]]:
    """Return a tool from any published layout, and the edits that were made.

    `raw` is an object or its JSON text, bare or inside OpenAI's `function`. `schema_rules` says what is edited, and
    `published_tool` undoes it.

    Raises:
        DataError: the tool is not an object, has no name, or its parameters are no object; the message begins with
            `where`.
    """
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
def _read_tool(text: str) -> tuple[Tool, tuple[Change, ...]]:
    """Read a tool from its JSON text.

    The rows of one agent hold the same tools over and over. The cache makes equal ones one object.
    """
    raw = parse_value(text, "")
    if isinstance(raw, dict) and isinstance(raw.get("function"), dict):
        beside = {key: value for key, value in raw.items() if key != "function" and raw.get("type", "") != value}
        raw = {**beside, **raw["function"]}
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
    return Tool(name, raw["description"], raw["parameters"]), tuple(edits.changes)


def call_problems(call: ToolCall, tools: Iterable[Tool]) -> list[Problem]:
    """Return what is wrong with a call by the schema of its own tool; the list is empty if nothing is.

    An argument that the schema does not name is a problem, though JSON Schema by itself would let it pass, unless
    `additionalProperties` or `patternProperties` lets it in. A schema that is no JSON Schema, or that refers to one
    elsewhere, is itself a problem; nothing is ever fetched.
    """
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        return [Problem("unknown_tool", "", f"there is no tool {shortened(call.name)}")]
    name, schema, problems = shortened(call.name), tool.parameters, list[Problem]()
    if schema.get("additionalProperties") in (None, False) and "patternProperties" not in schema:
        named = schema.get("properties")
        unknown = [key for key in call.arguments if not isinstance(named, Mapping) or key not in named]
        problems = [Problem("unknown_argument", key, f"{name} has no argument {shortened(key)}") for key in unknown]
    try:
        errors = list(jsonschema.Draft202012Validator(schema, registry=_NO_SCHEMAS).iter_errors(dict(call.arguments)))
    except _SCHEMA_FAILURES as error:
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
    _drop_nulls(arguments, tool.parameters, ("arguments",), edits)
    return (ToolCall(call.name, arguments), tuple(edits.changes)) if edits.changes else (call, ())


def _holds_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_null, value.values()))
    return any(map(_holds_null, value)) if isinstance(value, list) else value is None


def _drop_nulls(value: Any, schema: Any, path: tuple[Any, ...], edits: Edits) -> None:
    if not isinstance(schema, Mapping):
        return
    if isinstance(value, list):
        for place, element in enumerate(value):
            _drop_nulls(element, schema.get("items"), (*path, place), edits)
        return
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return
    required = schema.get("required")
    for key in [key for key, element in value.items() if element is None]:
        named = properties.get(key)
        is_required = isinstance(required, list) and key in required
        if named is None or (not is_required and not _allows_null(named)):
            edits.drop("null_argument", value, path, key)
    for key, element in value.items():
        _drop_nulls(element, properties.get(key), (*path, key), edits)


def _allows_null(schema: Any) -> bool:
    try:
        return next(jsonschema.Draft202012Validator(schema, registry=_NO_SCHEMAS).iter_errors(None), None) is None
    except _SCHEMA_FAILURES:
        return True


def _one_line(text: str) -> str:
    """Return a library's sentence on one line and of bounded length.

    Its end is kept, because it says what was expected.
    """
    text = " ".join(text.split())
    return text if len(text) <= 240 else f"{text[:120]} ... {text[-116:]}"
