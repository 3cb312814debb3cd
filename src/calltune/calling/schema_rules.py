"""The rules that turn a published tool into one in JSON Schema. Every edit is logged and can be undone."""

import copy
import json
from collections.abc import Mapping
from typing import Any

from calltune.calling.edits import ChangeKind, Edits
from calltune.calling.strict_json import parse_literal
from calltune.calling.type_names import JSON_TYPES, read_type
from calltune.errors import DataError

_ONE_SCHEMA = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAPS = ("$defs", "definitions", "patternProperties", "dependentSchemas")
_TOOL_KEYS = ("name", "description", "parameters", "required")
_PYTHON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def edit_tool(tool: dict[str, Any], edits: Edits) -> None:
    """Turn a published tool into one of `name`, `description` and a JSON Schema as `parameters`, in place.

    Raises:
        DataError: `parameters` or `properties` is no object.
    """
    for key in [key for key in tool if key not in _TOOL_KEYS]:
        edits.drop("null_dropped" if tool[key] is None else "key_dropped", tool, (), key)
    if not isinstance(tool.get("description"), str):
        edits.put("filled_in", tool, (), "description", str(tool.get("description") or ""))
    if not tool.get("parameters"):
        edits.put("filled_in", tool, (), "parameters", {})
    parameters = tool["parameters"]
    if not isinstance(parameters, dict):
        raise DataError(f"'parameters' must be an object, not {type(parameters).__name__}")
    if parameters and _is_bare(parameters):
        listed = {"required": parameters["required"]} if isinstance(parameters.get("required"), list) else {}
        alone = {key: value for key, value in parameters.items() if key not in listed}
        edits.put("wrapped", tool, (), "parameters", {"properties": alone, **listed})
    schema, path = tool["parameters"], ("parameters",)
    if "required" in tool:
        if isinstance(tool["required"], list):
            inside = schema["required"] if isinstance(schema.get("required"), list) else []
            both = tool["required"] + [name for name in inside if name not in tool["required"]]
            edits.put("required_moved", schema, path, "required", list(both))
            edits.drop("required_moved", tool, (), "required")
        else:
            edits.drop("null_dropped" if tool["required"] is None else "required_dropped", tool, (), "required")
    if schema.get("properties") is None:
        edits.put("filled_in", schema, path, "properties", {})
    if schema.get("type") != "object":
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
    return not isinstance(parameters.get("type"), str) and ("properties" not in parameters or is_parameter)


def edit_schema(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> bool | None:
    """Turn one schema and all in it into JSON Schema, in place.

    Returns:
        Whether the schema said of itself that it is required (True) or optional (False); None if neither.
    """
    for key in [key for key, value in schema.items() if value is None]:
        edits.drop("null_dropped", schema, path, key)
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
    if "properties" in schema:
        _edit_properties(schema, path, edits)
    if "enum" in schema:
        _edit_enum(schema, path, edits)
    if isinstance(schema.get("default"), str):
        _edit_default(schema, path, edits)
    return required


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
    if not isinstance(schema.get("required"), list):
        edits.put("required_dropped" if "required" in schema else "filled_in", schema, path, "required", [])
    _require(
        schema,
        path,
        [n for n in schema["required"] if isinstance(n, str) and n in requirements],
        "required_dropped",
        edits,
    )
    _require(schema, path, [name for name in schema["required"] if requirements[name] is not False], "optional", edits)
    more = [name for name, value in requirements.items() if value and name not in schema["required"]]
    _require(schema, path, schema["required"] + more, "required_moved", edits)


def _require(schema: dict[str, Any], path: tuple[Any, ...], names: list[str], kind: ChangeKind, edits: Edits) -> None:
    if names != schema["required"]:
        edits.put(kind, schema, path, "required", names)


def _edit_enum(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> None:
    values, kind = schema["enum"], schema.get("type")
    if isinstance(values, str):
        values = _literal(values)
    if not isinstance(values, list) or not values:
        edits.drop("key_dropped", schema, path, "enum")
        return
    if values != schema["enum"]:
        edits.put("enum_typed", schema, path, "enum", values)
    others = [value for value in values if value is not None]
    if not isinstance(kind, str) or kind not in _PYTHON_TYPES or all(_is_of(value, kind) for value in others):
        return
    if kind == "array" and isinstance(schema.get("items", {}), dict):
        edits.put("enum_typed", schema, path, "items", {**schema.get("items", {}), "enum": copy.deepcopy(values)})
        edits.drop("enum_typed", schema, path, "enum")
        _edit_enum(schema["items"], (*path, "items"), edits)
        return
    cast = [value if value is None or _is_of(value, kind) else _cast(value, kind) for value in values]
    if all(value is None or _is_of(value, kind) for value in cast):
        edits.put("enum_typed", schema, path, "enum", cast)
        return
    fitting = next((name for name in _PYTHON_TYPES if all(_is_of(value, name) for value in others)), None)
    if fitting:
        edits.put("enum_typed", schema, path, "type", fitting)
    else:
        edits.drop("enum_typed", schema, path, "type")


def _edit_default(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> None:
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _PYTHON_TYPES or kind == "string":
        return
    if schema["default"].strip().lower() in ("none", "null"):
        edits.drop("default_dropped", schema, path, "default")
        return
    value = _cast(schema["default"], kind)
    if _is_of(value, kind):
        edits.put("default_typed", schema, path, "default", value)


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _PYTHON_TYPES[kind])


def _cast(value: Any, kind: str) -> Any:
    """Return the value in a type's words, or unchanged where it has none."""
    if kind == "string":
        return json.dumps(value, allow_nan=False)
    if kind == "boolean":
        return {"true": True, "false": False}.get(str(value).strip().lower(), value)
    if not isinstance(value, str):
        return int(value) if kind == "integer" and isinstance(value, float) and value.is_integer() else value
    if kind in ("array", "object"):
        return _literal(value)
    if kind == "integer":
        try:
            return int(value)
        except ValueError:
            return value
    number = _literal(value)
    return float(number) if isinstance(number, (int, float)) and abs(number) < 1e300 else value


def _literal(text: str) -> Any:
    """Return the value that a text spells in JSON or Python, or the text itself."""
    try:
        return parse_literal(text, "")
    except DataError:
        return text
