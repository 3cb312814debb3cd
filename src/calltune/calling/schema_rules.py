"""The rules that turn a published tool into one in JSON Schema. Every edit is logged and can be undone."""

import copy
import re
from collections.abc import Mapping
from typing import Any

from calltune.calling.edits import ChangeKind, Edits
from calltune.calling.schema_values import edit_default, edit_enum
from calltune.calling.tool_layouts import has_branches, is_schema, move_schema
from calltune.calling.type_names import JSON_TYPES, read_type
from calltune.errors import DataError

_ONE_SCHEMA = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAPS = ("$defs", "definitions", "patternProperties", "dependentSchemas")
_VALUES = ("default", "const", "example")
"""Under these keywords null may be meant."""
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_KINDS_OF_KEYWORDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), list),
    **dict.fromkeys(_COUNTS, (int, str)),
    "additionalProperties": (bool, dict),
}
_KEYWORDS = {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", word): word for word in _KINDS_OF_KEYWORDS}
_TOOL_KEYS = ("name", "description", "parameters", "required")


def edit_tool(tool: dict[str, Any], edits: Edits) -> None:
    """Turn a published tool into one of `name`, `description` and a JSON Schema as `parameters`, in place.

    Parameters that are JSON Schema already stay as they are: what a model is trained on is what it will be served with.

    Raises:
        DataError: `parameters` or `properties` is no object, or the schema stands where it is not read.
    """
    move_schema(tool, edits)
    for key in [key for key in tool if key not in _TOOL_KEYS]:
        kind: ChangeKind = "schema_dropped" if is_schema(tool[key]) else "key_dropped"
        edits.drop("null_dropped" if tool[key] is None else kind, tool, (), key)
    if not isinstance(tool.get("description"), str):
        edits.put("filled_in", tool, (), "description", str(tool.get("description") or ""))
    if not tool.get("parameters"):
        edits.put("filled_in", tool, (), "parameters", {"type": "object", "properties": {}, "required": []})
    parameters = tool["parameters"]
    if _is_bare(parameters):
        listed = parameters["required"] if isinstance(parameters.get("required"), list) else []
        alone = {key: value for key, value in parameters.items() if key != "required" or not listed}
        edits.put("wrapped", tool, (), "parameters", {"type": "object", "properties": alone, "required": listed})
    schema, path = tool["parameters"], ("parameters",)
    edits.is_padded = _is_padded(schema)
    if "required" in tool:
        if isinstance(tool["required"], list):
            inside = schema["required"] if isinstance(schema.get("required"), list) else []
            both = tool["required"] + [name for name in inside if name not in tool["required"]]
            edits.put("required_moved", schema, path, "required", list(both))
            edits.drop("required_moved", tool, (), "required")
        else:
            edits.drop("null_dropped" if tool["required"] is None else "required_dropped", tool, (), "required")
    if schema.get("type") != "object" and not (schema.get("type") is None and has_branches(schema)):
        edits.put("type_name" if "type" in schema else "filled_in", schema, path, "type", "object")
    if "enum" in schema:
        edits.drop("key_dropped", schema, path, "enum")
    edit_schema(schema, path, edits)


def _is_bare(parameters: dict[str, Any]) -> bool:
    """Return whether these are properties alone, as Glaive and xLAM write them.

    One of the properties may itself be called "properties".
    """
    inside = parameters.get("properties")
    is_parameter = isinstance(inside, dict) and isinstance(inside.get("type"), str)
    if isinstance(parameters.get("type"), str) or ("properties" in parameters and not is_parameter):
        return False
    if has_branches(parameters) or any(key.startswith("$") or key.endswith("Properties") for key in parameters):
        return False
    says_nothing = all(key in ("title", "description", "required") for key in parameters)
    return not says_nothing or any(
        isinstance(value, dict) or (isinstance(value, str) and read_type(value).schema) for value in parameters.values()
    )


def _is_padded(schema: dict[str, Any]) -> bool:
    """Return whether Arrow has put nulls into a schema: whether one stands where no author writes it."""
    level: list[Any] = [schema]
    while level:
        objects = [value for value in level if isinstance(value, dict)]
        pairs = [(key, value) for schema in objects for key, value in schema.items() if key not in _VALUES]
        if any(value is None for _, value in pairs):
            return True
        elements = [element for value in level if isinstance(value, list) for element in value]
        level = [value for key, value in pairs if key not in ("enum", "examples")] + elements
    return False


def edit_schema(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> bool | None:
    """Turn one schema and all in it into JSON Schema, in place.

    Returns:
        Whether the schema said of itself that it is required (True) or optional (False); None if neither.
    """
    for key in [key for key, value in schema.items() if value is None]:
        if key not in _VALUES or (edits.is_padded and not _names_null(schema)):
            edits.drop("null_dropped", schema, path, key)
    _edit_keywords(schema, path, edits)
    required = _own_requirement(schema, path, edits)
    if "type" in schema and _edit_type(schema, path, edits):
        required = False
    for key in (key for key in _ONE_SCHEMA if key in schema):
        _edit_sub_schema(schema, path, key, edits)
    for key in (key for key in _SCHEMA_LISTS if isinstance(schema.get(key), list)):
        for place in range(len(schema[key])):
            _edit_element(schema[key], (*path, key), place, edits)
    for key in (key for key in _SCHEMA_MAPS if isinstance(schema.get(key), dict)):
        for name in list(schema[key]):
            _edit_element(schema[key], (*path, key), name, edits)
    if "required" in schema and not isinstance(schema["required"], list):
        edits.drop("required_dropped", schema, path, "required")
    if "properties" in schema:
        _edit_properties(schema, path, edits)
    if "enum" in schema:
        edit_enum(schema, path, edits)
    if isinstance(schema.get("default"), str):
        edit_default(schema, path, edits)
    return required


def _names_null(schema: dict[str, Any]) -> bool:
    """Return whether a schema lets null pass in so many words, so that its author may have written a null."""
    if schema.get("nullable") is True:
        return True
    branches = [schema, *(branch for key in ("anyOf", "oneOf") for branch in schema.get(key) or ())]
    kinds = [branch.get("type") for branch in branches if isinstance(branch, dict)]
    return any("null" in (kind if isinstance(kind, list) else [kind]) for kind in kinds)


def _edit_keywords(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> None:
    """Put names and numbers of rules into JSON Schema's form.

    Gemini's SDK writes names with underscores, and its protocol writes whole numbers as text.
    """
    for name, keyword in _KEYWORDS.items():
        if name in schema and keyword not in schema and isinstance(schema[name], _KINDS_OF_KEYWORDS[keyword]):
            edits.put("keyword", schema, path, keyword, copy.deepcopy(schema[name]))
            edits.drop("keyword", schema, path, name)
    for keyword in _COUNTS:
        text = schema.get(keyword)
        if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20:
            edits.put("keyword", schema, path, keyword, int(text))


def _own_requirement(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> bool | None:
    value = schema.get("required")
    is_required = {"true": True, "false": False}.get(str(value).lower()) if isinstance(value, (bool, str)) else None
    if is_required is not None:
        edits.drop("required_moved", schema, path, "required")
    return is_required


def _edit_type(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> bool:
    """Put the type into JSON Schema's words, and return whether it said "optional"."""
    kind = schema["type"]
    if isinstance(kind, list):
        names = [read_type(name).schema.get("type") if isinstance(name, str) else None for name in kind]
        names = list(dict.fromkeys(names))
        if not names or None in names:
            edits.drop("type_dropped", schema, path, "type")
        elif names != kind:
            edits.put("type_name", schema, path, "type", names)
        return False
    if not isinstance(kind, str):
        edits.drop("type_dropped", schema, path, "type")
        return False
    if kind in JSON_TYPES:
        return False
    named = read_type(kind)
    if "type" in named.schema:
        edits.put("type_name", schema, path, "type", named.schema["type"])
    else:
        edits.drop("type_name" if named.schema else "type_dropped", schema, path, "type")
    for key, value in named.schema.items():
        if key not in schema:
            edits.put("type_name", schema, path, key, copy.deepcopy(value))
    return named.optional


def _edit_sub_schema(schema: dict[str, Any], path: tuple[Any, ...], key: str, edits: Edits) -> None:
    if key == "items" and isinstance(schema[key], list):
        edits.put("shorthand", schema, path, "prefixItems", copy.deepcopy(schema[key]))
        edits.drop("shorthand", schema, path, key)
    elif isinstance(schema[key], (dict, str)):
        _edit_element(schema, path, key, edits)
    elif not isinstance(schema[key], bool):
        edits.drop("key_dropped", schema, path, key)


def _edit_element(place: Any, path: tuple[Any, ...], key: Any, edits: Edits) -> bool | None:
    """Edit a schema that stands in a list or an object. One that is written as a type's name alone is unfolded."""
    value = place[key]
    if isinstance(value, str):
        edits.put("shorthand", place, path, key, {"type": value})
    elif isinstance(value, bool):
        edits.put("shorthand", place, path, key, {} if value else {"not": {}})
    elif not isinstance(value, dict):
        edits.put("null_dropped" if value is None else "key_dropped", place, path, key, {})
    return edit_schema(place[key], (*path, key), edits)


def _edit_properties(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> None:
    properties = schema["properties"]
    if not isinstance(properties, dict):
        raise DataError(f"'properties' must be an object, not {type(properties).__name__}")
    inside = (*path, "properties")
    for name in [name for name, value in properties.items() if not isinstance(value, (dict, str, bool))]:
        edits.drop("null_dropped" if properties[name] is None else "key_dropped", properties, inside, name)
    requirements = {name: _edit_element(properties, inside, name, edits) for name in list(properties)}
    listed = schema.get("required", [])
    # A name that is not among the properties may be one of a branch's.
    is_closed = not has_branches(schema)
    named = [name for name in listed if isinstance(name, str) and (name in requirements or not is_closed)]
    _require(schema, path, named, "required_dropped", edits)
    named = [name for name in named if requirements.get(name) is not False]
    _require(schema, path, named, "optional", edits)
    more = [name for name, value in requirements.items() if value and name not in named]
    _require(schema, path, named + more, "required_moved", edits)


def _require(schema: dict[str, Any], path: tuple[Any, ...], names: list[str], kind: ChangeKind, edits: Edits) -> None:
    if names != schema.get("required", []):
        edits.put(kind, schema, path, "required", names)
