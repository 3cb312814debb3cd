"""Calls whose arguments are written as bare text, so that a tool's schema has to say what they are.

xml, of Qwen 3.5 and Nemotron 3: `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`,
with a line break at each end of a value. glm, of GLM 4.5:
`<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>`.

A text is a string where the schema allows nothing else, as vLLM's parsers take it. Otherwise it is read as JSON (or as
Python spells true, false and none, as the templates of Qwen and Nemotron do), and must be of a type that is allowed.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from calltune.calling.arguments import argument_schemas, branches, resolver_of
from calltune.calling.parsed import ParsedAnswer, calls_between, make_call
from calltune.calling.strict_json import shortened
from calltune.types import Tool, ToolCall

_XML = re.compile(r"\s*<function=([^>\s]+)>\s*?\n?(.*?)\s*</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_GLM = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_PYTHON_WORDS = {"True": True, "False": False, "None": None}
_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
    "string": (str,),
}


def xml_calls(text: str, tools: Sequence[Tool]) -> ParsedAnswer:
    """Read the calls of Qwen 3.5 and Nemotron 3."""

    def call(block: str) -> tuple[str, list[tuple[str, str]]] | str:
        match = _XML.fullmatch(block)
        if not match:
            return "is not one function between <function=...> and </function>"
        arguments = all_pairs(_PARAMETER, match[2])
        return "holds something beside its parameters" if arguments is None else (match[1], arguments)

    return _between_marks(text, tools, call)


def glm_calls(text: str, tools: Sequence[Tool]) -> ParsedAnswer:
    """Read the calls of GLM 4.5."""

    def call(block: str) -> tuple[str, list[tuple[str, str]]] | str:
        name, mark, rest = block.partition("<arg_key>")
        arguments = all_pairs(_GLM, mark + rest)
        if not name.strip() or len(name.split()) > 1:
            return "has no name"
        return "holds something beside its arguments" if arguments is None else (name.strip(), arguments)

    return _between_marks(text, tools, call)


def with_types_known(parsed: ParsedAnswer, tools: Sequence[Tool]) -> ParsedAnswer:
    """Return what was read, or as malformed where no tool says what an argument is, so that a text is but a guess."""
    known = {tool.name: argument_schemas(tool.parameters) for tool in tools}
    for call in parsed.message.tool_calls if parsed.message else ():
        if untold := next((name for name in call.arguments if name not in known.get(call.name, {})), None):
            return ParsedAnswer(None, f"no tool that is offered says what {shortened(untold)} of {call.name!r} is")
    return parsed


def _between_marks(
    text: str, tools: Sequence[Tool], read: Callable[[str], tuple[str, list[tuple[str, str]]] | str]
) -> ParsedAnswer:
    def call(block: str) -> ToolCall | str:
        written = read(block)
        return written if isinstance(written, str) else typed_call(*written, tools)

    return calls_between(text, "<tool_call>", "</tool_call>", call)


def all_pairs(pattern: re.Pattern[str], text: str) -> list[tuple[str, str]] | None:
    """Return the pairs of key and value that a text consists of, or None where it holds anything else."""
    pairs, place = [], 0
    while match := pattern.match(text, place):
        pairs.append((match[1].strip(), match[2]))
        place = match.end()
    return pairs if not text[place:].strip() else None


def typed_call(name: str, arguments: Sequence[tuple[str, str]], tools: Sequence[Tool]) -> ToolCall | str:
    """Return the call with its values as the tool's schema has them, or what is wrong with it."""
    keys = [key for key, _ in arguments]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        return f"gives {shortened(twice)} twice"
    parameters = next((tool.parameters for tool in tools if tool.name == name), {})
    schemas, resolver = argument_schemas(parameters), resolver_of(parameters)
    values: dict[str, Any] = {}
    for key, text in arguments:
        allowed = _allowed(schemas.get(key, {}), resolver)
        try:
            values[key] = _value(text, allowed)
        except ValueError:
            return f"gives {shortened(key)} {shortened(text)}, which is no {' or '.join(sorted(allowed))}"
        except RecursionError:
            return f"gives {shortened(key)} JSON nested too deeply"
    return make_call(name, values)


def _allowed(schema: Mapping[str, Any], resolver: Any) -> set[str]:
    """Return the types that a schema allows; a string where it says nothing."""
    types: set[str] = set()
    for branch, _, _ in branches(schema, resolver):
        kinds = branch.get("type")
        types |= {kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str)}
        listed = branch.get("enum")
        values = [*(listed if isinstance(listed, list) else []), *([branch["const"]] if "const" in branch else [])]
        if not kinds:
            types |= {_name_of(value) for value in values}
        if branch.get("nullable") is True:
            types.add("null")
    return types & _TYPES.keys() or {"string"}


def _name_of(value: Any) -> str:
    kind = type(value)
    return next(name for name, kinds in _TYPES.items() if kind in kinds)


def _value(text: str, allowed: set[str]) -> Any:
    """Return what a text means.

    Raises:
        ValueError: it is nothing that is allowed.
    """
    if allowed == {"string"}:
        return text
    stripped = text.strip()
    try:
        value = _PYTHON_WORDS[stripped] if stripped in _PYTHON_WORDS else json.loads(stripped)
    except ValueError:
        value = text
    fits = any(type(value) in _TYPES[name] for name in allowed)
    if type(value) is float and value.is_integer() and "integer" in allowed and "number" not in allowed:
        return int(value)
    if fits and (not isinstance(value, str) or value == text):
        return value
    if "string" in allowed:
        return text
    raise ValueError
