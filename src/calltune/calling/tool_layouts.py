"""The layouts in which tools are published: what stands around a tool, and under which key its parameters stand.

| layout                          | a tool is                                                                   |
|---------------------------------|-----------------------------------------------------------------------------|
| OpenAI, chat completions        | `{"type": "function", "function": {"name", "description", "parameters"}}`   |
| OpenAI, Responses API           | `{"type": "function", "name", "description", "parameters"}`                 |
| MCP, `tools/list`               | `{"name", "description", "inputSchema"}`, listed under `tools`              |
| Anthropic                       | `{"name", "description", "input_schema"}`                                   |
| Bedrock Converse, Strands       | `{"toolSpec": {"name", "description", "inputSchema": {"json": {...}}}}`     |
| Gemini                          | `{"functionDeclarations": [{"name", "parameters" or "parametersJsonSchema"}]}` |
| Vercel AI SDK                   | `{"name", "description", "inputSchema": {"jsonSchema": {...}}}`             |

Each key may also be written with underscores, and a schema may be JSON text.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from calltune.calling.edits import Change, Edits, pointer, tell
from calltune.calling.strict_json import parse_value, shortened
from calltune.errors import DataError

_AROUND_ONE = ("function", "toolSpec", "tool_spec")
_AROUND_SEVERAL = ("functionDeclarations", "function_declarations", "tools")
_SCHEMA_KEYS = (
    *("parameters", "inputSchema", "input_schema", "parametersJsonSchema", "parameters_json_schema"),
    *("args_schema", "argsSchema", "json_schema", "jsonSchema"),
)
_AROUND_SCHEMA = ("json", "jsonSchema", "json_schema")
_CACHE_MARKS = ("cachePoint", "cache_point")


def entries(raw: Any, where: str) -> Iterator[tuple[Any, str]]:
    """Yield each tool of a list with its place. A list may stand in an object, and one element may hold several tools.

    Bedrock's marks of where a prompt may be cached stand among the tools, are none, and are left out.

    Raises:
        DataError: `raw` is neither a list, an object, nor nothing.
    """
    if isinstance(raw, Mapping):
        key = next((key for key in _AROUND_SEVERAL if isinstance(raw.get(key), list)), None)
        if key and not isinstance(raw.get("name"), str):
            yield from entries(raw[key], f"{where}.{key}")
            return
        if isinstance(raw.get("result"), Mapping) and isinstance(raw["result"].get("tools"), list):
            yield from entries(raw["result"]["tools"], f"{where}.result.tools")
            return
        raw = [raw]
    if not isinstance(raw, list):
        raise DataError(f"{where} must be a list of tools, not {type(raw).__name__}")
    for number, element in enumerate(raw):
        place = f"{where}[{number}]"
        if isinstance(element, str) and element.lstrip().startswith("{"):
            element = parse_value(element, place)
        if isinstance(element, Mapping):
            if any(element.get(key) for key in _CACHE_MARKS) and not any(element.get(key) for key in _AROUND_ONE):
                tell(place, "tools", (Change("key_dropped", "remove", pointer((number,)), dict(element)),))
                continue
            key = next((key for key in _AROUND_SEVERAL[:2] if isinstance(element.get(key), list)), None)
            if key:
                yield from entries(element[key], f"{place}.{key}")
                element = {other: value for other, value in element.items() if other != key and value is not None}
                if not element:
                    continue
        yield element, place


def unwrapped(raw: Any) -> Any:
    """Return the object with the tool's name, with what stood beside `function` or `toolSpec` in it."""
    if not isinstance(raw, dict):
        return raw
    key = next((key for key in _AROUND_ONE if isinstance(raw.get(key), dict)), None)
    if key is None:
        return raw
    beside = {other: value for other, value in raw.items() if other != key and (other, value) != ("type", "function")}
    return {**beside, **raw[key]}


def move_schema(tool: dict[str, Any], edits: Edits) -> None:
    """Put a tool's schema under `parameters`, wherever it was published, in place.

    Raises:
        DataError: two keys hold different schemas; a schema is no object; or a key that is not known holds the only
            schema there is. A result's schema is no such key, and is dropped.
    """
    found = {key: schema for key in _SCHEMA_KEYS if tool.get(key) and (schema := _schema(tool[key], key)) is not None}
    if found:
        first, *others = found
        schema = found[first]
        if different := next((key for key in others if found[key] != schema), None):
            raise DataError(f"'{first}' and '{different}' hold different schemas")
        if tool.get("parameters") != schema:
            edits.put("schema_moved", tool, (), "parameters", schema)
        for key in found:
            if key != "parameters":
                edits.drop("schema_moved", tool, (), key)
        return
    unread = next((key for key, value in tool.items() if is_schema(value) and not _is_of_a_result(key)), None)
    if unread is not None:
        raise DataError(f"{shortened(unread)} holds a schema, which is read under 'parameters' or {_known()}")


def _schema(value: Any, key: str) -> dict[str, Any] | None:
    """Return the schema that a key holds, without what stands around it; None where it is a name in another sense."""
    if isinstance(value, str):
        if key not in ("parameters",) and not value.lstrip().startswith("{"):
            return None
        value = parse_value(value, f"'{key}'")
    if not isinstance(value, dict):
        raise DataError(f"'{key}' must be an object, not {type(value).__name__}")
    said = [name for name in value if value[name] is not None and not name.startswith("_")]
    if len(said) == 1 and said[0] in _AROUND_SCHEMA:
        inner = value[said[0]]
        # Among properties that are written alone one may be called "json".
        if key != "parameters" or isinstance(inner, str) or is_schema(inner):
            return _schema(inner, key)
    return value


def is_schema(value: Any) -> bool:
    """Return whether a value describes an object as JSON Schema does."""
    if isinstance(value, str) and value.lstrip().startswith("{") and "properties" in value:
        return True
    if not isinstance(value, Mapping):
        return False
    kind = value.get("type")
    is_object = isinstance(kind, str) and kind.lower() in ("object", "dict")
    return is_object or isinstance(value.get("properties"), Mapping) or has_branches(value)


def has_branches(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema says what it accepts by other schemas: `$ref`, `allOf`, `anyOf`, `oneOf`."""
    return isinstance(schema.get("$ref"), str) or any(
        isinstance(schema.get(key), list) and schema[key] for key in ("allOf", "anyOf", "oneOf")
    )


def _is_of_a_result(key: str) -> bool:
    return any(word in key.lower() for word in ("output", "return", "response", "result"))


def _known() -> str:
    return ", ".join(f"'{key}'" for key in ("inputSchema", "input_schema"))
