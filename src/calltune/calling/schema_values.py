"""Values inside of a published schema, `enum` and `default`, in the words of the type beside them."""

import copy
import json
from collections.abc import Mapping
from typing import Any

from calltune.calling.edits import Edits
from calltune.calling.strict_json import parse_literal
from calltune.errors import DataError

_PYTHON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def edit_enum(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> None:
    """Give the values of an `enum` the type beside them, or the type that of the values, in place."""
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
        edit_enum(schema["items"], (*path, "items"), edits)
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


def edit_default(schema: dict[str, Any], path: tuple[Any, ...], edits: Edits) -> None:
    """Give a default that is written as text the type beside it, in place."""
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
