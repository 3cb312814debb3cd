import json
import sys

import pytest

from calltune.calling.edits import CHANGE_KINDS, Change, changes_told_to
from calltune.calling.schema import call_problems, drop_null_padding, normalize_tool, published_tool, read_tool
from calltune.errors import DataError
from calltune.types import Tool, ToolCall


def tool(properties: dict, **beside: object) -> dict:
    return {"name": "t", "description": "d", "parameters": {"type": "object", "properties": properties}, **beside}


def schema_of(prop: object, **beside: object) -> object:
    return normalize_tool(tool({"a": prop}, **beside), "w").parameters["properties"]["a"]


def test_training_layout_with_required_beside_parameters() -> None:
    raw = tool(
        {
            "seats": {"type": "int", "default": "2"},
            "name": {"type": "str, optional", "description": "who"},
            "type": {"type": "str", "enum": ["a", "b"]},
        },
        required=["seats", "name"],
    )
    raw["parameters"]["type"] = "dict"
    assert normalize_tool(raw, "f:1").parameters == {
        "type": "object",
        "properties": {
            "seats": {"type": "integer", "default": 2},
            "name": {"type": "string", "description": "who"},
            "type": {"type": "string", "enum": ["a", "b"]},
        },
        "required": ["seats"],
    }


def test_json_text_openai_and_bare_properties_are_one_tool() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}, "required": []}
    expected = Tool("t", "d", parameters)
    raw = {"name": "t", "description": "d", "parameters": parameters}
    assert normalize_tool(raw, "w") == expected
    assert normalize_tool(json.dumps(raw), "w") == expected
    assert normalize_tool({"type": "function", "function": raw}, "w") == expected
    assert normalize_tool({**raw, "parameters": {"a": {"type": "str"}}}, "w") == expected
    assert normalize_tool({"name": "t"}, "w") == Tool("t", "", {"type": "object", "properties": {}, "required": []})
    named = normalize_tool({**raw, "parameters": {"a": {"type": "str"}, "properties": {"type": "int"}}}, "w").parameters
    assert named["properties"] == {"a": {"type": "string"}, "properties": {"type": "integer"}}
    bare = {"a": {"type": "str"}, "required": ["a"]}
    assert normalize_tool({**raw, "parameters": bare}, "w").parameters["required"] == ["a"]


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ({"type": "Dict[str, int]"}, {"type": "object", "additionalProperties": {"type": "integer"}}),
        ({"type": "Union[int, str]"}, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ({"type": "Literal['x', 'y']"}, {"type": "string", "enum": ["x", "y"]}),
        ({"type": ["str", "null"]}, {"type": ["string", "null"]}),
        ({"type": ["str", "thing"]}, {}),
        ({"type": {"what": "ever"}}, {}),
        ({"type": "any", "description": "x"}, {"description": "x"}),
        ({"type": "int", "default": None, "enum": None, "items": None}, {"type": "integer"}),
        ({"type": "int", "default": "None"}, {"type": "integer"}),
        ({"type": "str", "default": "None"}, {"type": "string", "default": "None"}),
        ({"type": "bool", "default": "True"}, {"type": "boolean", "default": True}),
        ({"type": "float", "default": "1e-3"}, {"type": "number", "default": 0.001}),
        ({"type": "float", "default": "inf"}, {"type": "number", "default": "inf"}),
        ({"type": "list", "default": "['x']"}, {"type": "array", "default": ["x"]}),
        ({"type": "int", "enum": ["1", "2"]}, {"type": "integer", "enum": [1, 2]}),
        ({"type": "string", "enum": [1, 2]}, {"type": "string", "enum": ["1", "2"]}),
        ({"type": "int", "enum": ["low", "high"]}, {"type": "string", "enum": ["low", "high"]}),
        ({"type": "int", "enum": ["low", 3.5]}, {"enum": ["low", 3.5]}),
        ({"type": "str", "enum": "['a', 'b']"}, {"type": "string", "enum": ["a", "b"]}),
        ({"type": "list[str]", "enum": ["a"]}, {"type": "array", "items": {"type": "string", "enum": ["a"]}}),
        ("str", {"type": "string"}),
        (True, {}),
        ({"type": "list", "items": "int"}, {"type": "array", "items": {"type": "integer"}}),
        (
            {"type": "list", "items": [{"type": "int"}, {"type": "str"}]},
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        ),
        ({"anyOf": [{"type": "int"}, None, {"type": "str"}]}, {"anyOf": [{"type": "integer"}, {}, {"type": "string"}]}),
        (
            {"type": "dict", "properties": {"b": {"type": "int", "required": True}, "c": {"type": "str"}}},
            {
                "type": "object",
                "properties": {"b": {"type": "integer"}, "c": {"type": "string"}},
                "required": ["b"],
            },
        ),
    ],
)
def test_a_parameter_becomes_json_schema(published: object, expected: object) -> None:
    assert schema_of(published) == expected
    raw = tool({"a": published})
    assert published_tool(*read_tool(raw, "w")) == raw


def test_what_a_parameter_says_of_itself_goes_to_required() -> None:
    raw = tool({"a": {"type": "int", "required": True}, "b": {"type": "int", "required": False}, "c": {"type": "int"}})
    assert normalize_tool({**raw, "required": ["b", "c", "gone"]}, "w").parameters["required"] == ["c", "a"]


def test_every_change_is_told_and_can_be_undone() -> None:
    raw = tool(
        {"a": {"type": "str, optional", "default": None}, "other": None}, required=["a"], strict=None, returns={}
    )
    heard: list[tuple[str, str, tuple[Change, ...]]] = []
    with changes_told_to(lambda *told: heard.append(told)):
        normal = normalize_tool(raw, "f:1")
    normalize_tool(raw, "f:2")
    ((where, what, changes),) = heard
    assert (where, what) == ("f:1", "t")
    kinds = {(change.kind, change.op, change.path) for change in changes}
    assert kinds == {
        ("null_dropped", "remove", "/strict"),
        ("key_dropped", "remove", "/returns"),
        ("required_moved", "add", "/parameters/required"),
        ("required_moved", "remove", "/required"),
        ("null_dropped", "remove", "/parameters/properties/other"),
        ("null_dropped", "remove", "/parameters/properties/a/default"),
        ("type_name", "replace", "/parameters/properties/a/type"),
        ("optional", "replace", "/parameters/required"),
    }
    assert {change.kind for change in changes} <= set(CHANGE_KINDS)
    assert published_tool(normal, changes) == raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{", "not valid JSON"),
        ({}, "'name' is missing"),
        ([], "must be an object"),
        ({"name": "t", "parameters": 3}, "tool 't': 'parameters' must be an object"),
        ({"name": "t", "parameters": {"properties": [1]}}, "tool 't': 'properties' must be an object"),
        ({"name": "t", "parameters": {"properties": {"a": {"properties": "x"}}}}, "'properties' must be an object"),
        ({"name": "t", "parameters": {1, 2}}, "must be JSON"),
        ('{"name": "t", "name": "u"}', "'name' occurs twice"),
        ('{"name": "t", "description": "\\ud800"}', "half of a surrogate pair"),
        ('{"name": "t", "x": NaN}', "NaN is no number"),
        ('{"name": ' + "[" * 10_000 + "]" * 10_000 + "}", "nested too deeply"),
        ('{"name": ' + "[" * 70 + "]" * 70 + "}", "more than 64 levels"),
        ('{"name": "t", "x": ' + "9" * 5_000 + "}", "a number of thousands of digits"),
    ],
)
def test_a_broken_tool_names_its_place(raw: object, message: str) -> None:
    with pytest.raises(DataError, match=f"^f:3: .*{message}") as error:
        normalize_tool(raw, "f:3")
    assert len(str(error.value).splitlines()) == 1


def test_a_tool_of_ten_thousand_levels_that_python_holds() -> None:
    deep: dict = {}
    for _ in range(10_000):
        deep = {"type": "object", "properties": {"a": deep}}
    with pytest.raises(DataError, match="nested too deeply"):
        normalize_tool({"name": "t", "parameters": deep}, "f:3")
    assert call_problems(ToolCall("t", {"a": {}}), [Tool("t", "", deep)]) == []
    circle: dict = {}
    circle["circle"] = circle
    with pytest.raises(DataError, match="must be JSON"):
        normalize_tool({"name": "t", "parameters": circle}, "f:3")
    assert sys.getrecursionlimit() >= 1000


def problems(call: ToolCall, *tools: Tool) -> list[tuple[str, str]]:
    found = call_problems(call, tools)
    assert all(
        problem.text == str(problem) and "\n" not in problem.text and len(problem.text) < 500 for problem in found
    )
    return [(problem.kind, problem.argument) for problem in found]


def test_a_call_is_checked_against_its_own_tool() -> None:
    inner = {"type": "dict", "properties": {"b": {"type": "int"}}, "additionalProperties": False}
    properties = {"n": {"type": "int", "minimum": 1}, "c": {"type": "str", "enum": ["x"]}, "o": inner}
    mine = normalize_tool(tool(properties, required=["n"]), "w")
    assert problems(ToolCall("t", {"n": 1, "c": "x"}), mine) == []
    assert problems(ToolCall("u", {}), mine) == [("unknown_tool", "")]
    assert problems(ToolCall("t", {}), mine) == [("missing_argument", "")]
    assert problems(ToolCall("t", {"n": "1"}), mine) == [("wrong_type", "n")]
    assert problems(ToolCall("t", {"n": 0}), mine) == [("broken_rule", "n")]
    assert problems(ToolCall("t", {"n": 1, "c": "y" * 5000}), mine) == [("not_in_enum", "c")]
    assert problems(ToolCall("t", {"n": 1, "z": 1}), mine) == [("unknown_argument", "z")]
    assert problems(ToolCall("t", {"n": 1, "o": {"b": "\n"}}), mine) == [("wrong_type", "o.b")]
    assert problems(ToolCall("t", {"n": 1, "o": {"z": 1}}), mine) == [("unknown_argument", "o")]
    assert str(call_problems(ToolCall("t", {}), [mine])[0]) == "'t' 'n' is a required property"
    closed = Tool("t", "", {**mine.parameters, "additionalProperties": False})
    assert problems(ToolCall("t", {"n": 1, "z": 1}), closed) == [("unknown_argument", "z")]
    opened = Tool("t", "", {**mine.parameters, "additionalProperties": True})
    assert problems(ToolCall("t", {"n": 1, "z": 1}), opened) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "tuple"}}},
        {"properties": {"a": {"$ref": "#"}}, "$ref": "#"},
        {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}},
        {"properties": {"a": {"$ref": "#/nowhere"}}},
        {"properties": {"a": {"minLength": "x"}}},
        {"properties": {"a": 3}},
        {"properties": {"a": {}}, "required": 3},
    ],
)
def test_a_schema_that_is_none_is_a_problem_and_no_crash(schema: dict) -> None:
    assert problems(ToolCall("t", {"a": "x"}), Tool("t", "", schema)) == [("invalid_schema", "")]


def test_nulls_that_arrow_wrote_are_dropped_and_counted() -> None:
    inner = {"type": "object", "properties": {"x": {"type": "integer"}}}
    mine = Tool(
        "t",
        "",
        {
            "type": "object",
            "properties": {
                "a": {"type": "string"},
                "optional": {"type": "string"},
                "nullable": {"type": ["string", "null"]},
                "inner": inner,
                "many": {"type": "array", "items": inner},
                "free": {"type": "object"},
            },
            "required": ["a"],
        },
    )
    padded = {
        **{"a": None, "optional": None, "nullable": None, "stranger": None, "wrong": 1},
        "inner": {"x": 1, "y": None},
        "many": [{"x": None}, {"x": 2, "y": None}],
        "free": {"k": None},
    }
    repaired, changes = drop_null_padding(ToolCall("t", padded), [mine])
    assert repaired.arguments == {
        **{"a": None, "nullable": None, "wrong": 1},
        "inner": {"x": 1},
        "many": [{}, {"x": 2}],
        "free": {"k": None},
    }
    assert sorted(change.path for change in changes) == [
        *("/arguments/inner/y", "/arguments/many/0/x", "/arguments/many/1/y"),
        *("/arguments/optional", "/arguments/stranger"),
    ]
    assert drop_null_padding(ToolCall("u", padded), [mine]) == (ToolCall("u", padded), ())
