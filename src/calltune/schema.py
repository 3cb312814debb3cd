"""Tool schemas: whatever was published as parameters becomes JSON Schema; a call is checked against its own tool."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema
from jsonschema.exceptions import UnknownType

from calltune.errors import DataError
from calltune.types import Tool, ToolCall

_TYPE_NAMES = {
    "str": "string",
    "string": "string",
    "text": "string",
    "char": "string",
    "int": "integer",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "dict": "object",
    "object": "object",
    "hashmap": "object",
    "list": "array",
    "array": "array",
    "tuple": "array",
    "set": "array",
    "null": "null",
    "none": "null",
}
_GENERIC = re.compile(r"^(\w+)\s*[\[(<](.*)[\])>]$", re.DOTALL)


def normalize_tool(raw: Any, where: str) -> Tool:
    """A tool from any published layout: a dict or its JSON text, bare or inside OpenAI's `function`.

    Types are mapped as `normalize_type` says; `required` beside `parameters` goes inside; a parameter called
    "optional" leaves `required`; a default written as text takes its parameter's type.

    Raises:
        DataError: it is not an object, or has no name; the message begins with `where`.
    """
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not valid JSON: {error.msg}") from None
    if isinstance(raw, Mapping) and isinstance(raw.get("function"), Mapping):
        raw = raw["function"]
    if not isinstance(raw, Mapping):
        raise DataError(f"{where}: a tool must be an object, not {type(raw).__name__}")
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{where}: 'name' is missing")
    parameters = raw.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise DataError(f"{where}: 'parameters' of '{name}' must be an object, not {type(parameters).__name__}")
    # Glaive and xLAM write the properties alone, without the object around them.
    if parameters and "properties" not in parameters and not isinstance(parameters.get("type"), str):
        parameters = {"properties": parameters}
    if isinstance(raw.get("required"), list):
        parameters = {**parameters, "required": raw["required"]}
    schema = _normalize({"type": "object", "properties": {}, **parameters})
    return Tool(name, str(raw.get("description") or ""), {**schema, "type": "object"})


def normalize_type(name: str) -> tuple[dict[str, Any], bool]:
    """JSON Schema for a type's name, and whether the name said "optional".

    `int` -> integer, `List[int]` -> array of integer, `Optional[str]` and `str, optional` -> string and True, `dict` ->
    object; a name that says nothing (`any`, `callable`, `union[...]`) -> a schema that accepts everything.
    """
    text, comma, rest = name.strip().partition(",")
    optional = bool(comma) and "optional" in rest.lower()
    if not optional:
        text = name.strip()
    generic = _GENERIC.match(text)
    if not generic:
        known = _TYPE_NAMES.get(text.lower())
        return ({"type": known} if known else {}), optional
    outer, inner = generic[1].lower(), generic[2]
    if outer == "optional":
        return normalize_type(inner)[0], True
    known = _TYPE_NAMES.get(outer)
    if known == "array" and "," not in inner:
        items = normalize_type(inner)[0]
        return {"type": "array", **({"items": items} if items else {})}, optional
    return ({"type": known} if known else {}), optional


def _normalize(schema: Mapping[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in schema.items() if key not in ("type", "required", "properties", "items")}
    if isinstance(schema.get("type"), str):
        result = {**normalize_type(schema["type"])[0], **result}
    elif "type" in schema:
        result["type"] = schema["type"]
    if isinstance(schema.get("items"), Mapping):
        result["items"] = _normalize(schema["items"])
    if isinstance(schema.get("properties"), Mapping):
        properties = {key: value for key, value in schema["properties"].items() if isinstance(value, Mapping)}
        result["properties"] = {key: _normalize(value) for key, value in properties.items()}
        required = schema.get("required")
        optional = {key for key, value in properties.items() if _says_optional(value)}
        kept = [key for key in required if key not in optional] if isinstance(required, list) else []
        result["required"] = [key for key in kept if key in properties]
    if isinstance(result.get("default"), str) and result.get("type") in ("integer", "number", "boolean"):
        result["default"] = _typed_default(result["default"], result["type"])
    return result


def _says_optional(schema: Mapping[str, Any]) -> bool:
    return isinstance(schema.get("type"), str) and normalize_type(schema["type"])[1]


def _typed_default(text: str, kind: str) -> Any:
    try:
        if kind == "boolean":
            return {"true": True, "false": False}[text.strip().lower()]
        return int(text) if kind == "integer" else float(text)
    except (KeyError, ValueError):
        return text


def call_problems(call: ToolCall, tools: Iterable[Tool]) -> list[str]:
    """What is wrong with a call by the schema of its own tool, as sentences; an empty list if nothing is.

    An argument that the schema does not name is a problem, though JSON Schema by itself would let it pass.
    """
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        return [f"there is no tool '{call.name}'"]
    properties = tool.parameters.get("properties", {})
    problems = [f"'{call.name}' has no argument '{key}'" for key in call.arguments if key not in properties]
    try:
        errors = list(jsonschema.Draft202012Validator(tool.parameters).iter_errors(dict(call.arguments)))
    except jsonschema.SchemaError as error:
        return [*problems, f"the schema of '{call.name}' is not valid: {error.message}"]
    except UnknownType as error:
        return [*problems, f"the schema of '{call.name}' has an unknown type {error.type!r}"]
    for error in errors:
        place = ".".join(str(part) for part in error.absolute_path)
        problems.append(f"'{call.name}' {place + ': ' if place else ''}{error.message}")
    return problems
