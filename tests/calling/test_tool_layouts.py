"""Tools as MCP, Anthropic, Bedrock, Gemini and others publish them are read as one and the same."""

import json
from typing import Any

import pytest

from calltune.calling.edits import Change, changes_told_to
from calltune.calling.schema import normalize_tools, published_tool, read_tool
from calltune.errors import DataError
from calltune.types import Tool

A = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
PARAMETERS = {
    "type": "object",
    "properties": {"q": {"type": "string"}, "limit": {"type": "integer", "default": 5}},
    "required": ["q"],
}
UPPER = json.loads(json.dumps(PARAMETERS).replace("object", "OBJECT").replace("str", "STR").replace("STRing", "STRING"))
UPPER["properties"]["limit"]["type"] = "INTEGER"
SAID = {"name": "find", "description": "d"}
TOOL = Tool("find", "d", PARAMETERS)

LAYOUTS: dict[str, Any] = {
    "OpenAI chat": {"type": "function", "function": {**SAID, "parameters": PARAMETERS, "strict": True}},
    "OpenAI Responses": {"type": "function", **SAID, "parameters": PARAMETERS, "strict": None},
    "MCP": {**SAID, "title": "Find", "inputSchema": PARAMETERS, "annotations": {"readOnlyHint": True}},
    "MCP with a result's schema": {**SAID, "inputSchema": PARAMETERS, "outputSchema": {"type": "object"}},
    "MCP after Arrow": {**SAID, "inputSchema": PARAMETERS, "parameters": None, "input_schema": None},
    "Anthropic": {**SAID, "input_schema": PARAMETERS, "cache_control": {"type": "ephemeral"}, "type": "custom"},
    "Bedrock": {"toolSpec": {**SAID, "inputSchema": {"json": PARAMETERS}}},
    "Bedrock, schema as text": {"toolSpec": {**SAID, "inputSchema": {"json": json.dumps(PARAMETERS)}}},
    "Strands": {**SAID, "inputSchema": {"json": PARAMETERS}},
    "Gemini": {"functionDeclarations": [{**SAID, "parameters": UPPER}]},
    "Gemini in Python": {"function_declarations": [{**SAID, "parameters": UPPER, "response": None}], "retrieval": None},
    "Gemini, JSON schema": {"functionDeclarations": [{**SAID, "parametersJsonSchema": PARAMETERS}]},
    "Vercel": {**SAID, "inputSchema": {"jsonSchema": PARAMETERS}},
    "parameters as text": {**SAID, "parameters": json.dumps(PARAMETERS)},
    "both and equal": {**SAID, "parameters": PARAMETERS, "inputSchema": PARAMETERS},
    "an MCP tool inside OpenAI's function": {"type": "function", "function": {**SAID, "inputSchema": PARAMETERS}},
    "LangChain": {**SAID, "args_schema": PARAMETERS},
}


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_one_tool(layout: str, as_text: bool) -> None:
    raw = LAYOUTS[layout]
    assert normalize_tools([json.dumps(raw) if as_text else raw], "f:1: tools") == (TOOL,)
    assert normalize_tools(json.dumps([raw]) if as_text else raw, "f:1: tools") == (TOOL,)
    inside = next((raw[key][0] for key in raw if key.startswith("function_") or key == "functionDeclarations"), None)
    alone = inside or raw.get("toolSpec") or ({**raw["function"]} if "function" in raw else raw)
    assert json.dumps(published_tool(*read_tool(alone, "w")), sort_keys=True) == json.dumps(alone, sort_keys=True)


@pytest.mark.parametrize(
    "raw",
    [
        {"toolSpec": {**SAID, "inputSchema": {"json": {}}}},
        {"toolSpec": {**SAID, "inputSchema": {"json": {"type": "object", "properties": {}, "required": []}}}},
        {**SAID, "inputSchema": {}},
        {**SAID, "input_schema": None},
        SAID,
    ],
)
def test_a_tool_without_parameters(raw: dict[str, Any]) -> None:
    assert normalize_tools([raw], "f:1") == (Tool("find", "d", {"type": "object", "properties": {}, "required": []}),)


def test_a_parameter_may_be_called_json() -> None:
    (tool,) = normalize_tools([{**SAID, "parameters": {"json": {"type": "str"}}}], "f:1")
    assert tool.parameters["properties"] == {"json": {"type": "string"}}


@pytest.mark.parametrize(
    "around",
    [
        {"tools": [LAYOUTS["MCP"], LAYOUTS["Anthropic"]]},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [LAYOUTS["MCP"], LAYOUTS["MCP"]]}},
        {"tools": [LAYOUTS["Bedrock"], {"cachePoint": {"type": "default"}}, LAYOUTS["Bedrock"]], "toolChoice": {}},
        {"functionDeclarations": [SAID | {"parameters": UPPER}] * 2},
        [{"functionDeclarations": [SAID | {"parameters": UPPER}] * 2}],
    ],
)
def test_a_list_of_tools_in_an_object(around: Any) -> None:
    heard: list[tuple[str, str, tuple[Change, ...]]] = []
    with changes_told_to(lambda *told: heard.append(told)):
        assert normalize_tools(around, "f:1") == (TOOL, TOOL)
    dropped = [where for where, what, _ in heard if what == "tools"]
    assert dropped == (["f:1.tools[1]"] if "cachePoint" in json.dumps(around) else [])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"name": "t", "params": PARAMETERS}, "tool 't': 'params' holds a schema, which is read under 'parameters' or"),
        ({"name": "t", "parameters": {}, "signature": {"$ref": "#/x"}}, "'signature' holds a schema"),
        ({"name": "t", "spec": json.dumps(PARAMETERS)}, "'spec' holds a schema"),
        ({"name": "t", "parameters": PARAMETERS, "inputSchema": A}, "'parameters' and 'inputSchema' hold different"),
        ({"name": "t", "inputSchema": [1]}, "'inputSchema' must be an object, not list"),
        ({"name": "t", "input_schema": "{"}, "'input_schema': not valid JSON"),
        ({"googleSearch": {}}, "'name' is missing"),
        ({"functionDeclarations": [SAID], "codeExecution": {}}, "'name' is missing"),
    ],
)
def test_a_schema_that_is_not_read_is_an_error_of_one_line(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as error:
        normalize_tools([raw], "f:3: tools")
    assert str(error.value).startswith("f:3: tools[0]: ")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["outputSchema", "returns", "response", "other"])
def test_a_schema_beside_the_parameters_is_dropped_and_told(key: str) -> None:
    tool, changes = read_tool({"name": "t", "parameters": PARAMETERS, key: A}, "f:1")
    assert [(change.kind, change.path) for change in changes] == [
        ("schema_dropped", f"/{key}"),
        ("filled_in", "/description"),
    ]
    assert tool.parameters == PARAMETERS
