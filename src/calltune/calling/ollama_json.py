"""What Ollama hands to its template: messages, and tools and arguments as compact JSON with the keys it has fields for.

They are the fields of Ollama's `api/types.go` in 2026; what else a tool's schema says, such as a format or a default,
Ollama reads and forgets. Go writes an object without fields of its own with sorted keys, and `<`, `>` and `&` as
escapes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from calltune.types import Message, Tool

_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def ollama_values(messages: Sequence[Message], tools: Sequence[Tool]) -> dict[str, Any]:
    """What Ollama renders its template with: compact JSON, and of a tool's schema the keys that it has fields for."""
    return values_of(messages, [_function(tool) for tool in tools], _compact)


def is_joined_by_ollama(messages: Sequence[Message]) -> bool:
    """Whether Ollama would change the conversation: it joins neighbours of one role, and moves system messages up.

    So it is with one that does not begin with a question: the template has no text for that.
    """
    roles = [message.role for message in messages]
    twice = any(one == other != "tool" for one, other in pairwise(roles))
    return twice or "system" in roles[1:] or roles[roles[:1] == ["system"] :][:1] != ["user"]


def values_of(
    messages: Sequence[Message], functions: Sequence[str], write: Callable[[Mapping[str, Any]], str]
) -> dict[str, Any]:
    """What a template is rendered with; tools and arguments are texts already, as `{{ .Function }}` prints them."""
    return {
        "System": "\n\n".join(message.content for message in messages if message.role == "system"),
        "Tools": [{"Function": function} for function in functions],
        "Messages": [
            {
                "Role": message.role,
                "Content": message.content,
                "ToolCalls": [
                    {"Function": {"Name": call.name, "Arguments": write(call.arguments)}} for call in message.tool_calls
                ],
            }
            for message in messages
        ],
    }


def _function(tool: Tool) -> str:
    schema = tool.parameters
    parameters = {
        "type": schema.get("type", ""),
        **{key: _sorted(schema[key]) for key in ("$defs", "items") if schema.get(key)},
        **({"required": list(schema["required"])} if schema.get("required") else {}),
        "properties": _properties(schema.get("properties")),
    }
    described = {"description": tool.description} if tool.description else {}
    return _compact({"name": tool.name, **described, "parameters": parameters})


def _compact(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return "".join(_ESCAPED.get(character, character) for character in text)


def _properties(properties: Any) -> Any:
    if not isinstance(properties, Mapping):
        return None
    return {name: _property(schema) if isinstance(schema, Mapping) else {} for name, schema in properties.items()}


def _property(schema: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if schema.get("anyOf"):
        kept["anyOf"] = [_property(each) for each in schema["anyOf"] if isinstance(each, Mapping)]
    if kind := schema.get("type"):
        kept["type"] = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
    kept |= {key: _sorted(schema[key]) for key in ("items", "description", "enum") if schema.get(key)}
    if schema.get("properties"):
        kept["properties"] = _properties(schema["properties"])
    return kept


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value
