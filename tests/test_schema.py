import json

import pytest

from calltune.errors import DataError
from calltune.schema import call_problems, normalize_tool, normalize_type
from calltune.types import Tool, ToolCall


@pytest.mark.parametrize(
    ("name", "schema", "optional"),
    [
        ("str", {"type": "string"}, False),
        ("string", {"type": "string"}, False),
        ("int", {"type": "integer"}, False),
        ("float", {"type": "number"}, False),
        ("dict", {"type": "object"}, False),
        ("str, optional", {"type": "string"}, True),
        ("Optional[int]", {"type": "integer"}, True),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}, False),
        ("list(str)", {"type": "array", "items": {"type": "string"}}, False),
        ("List[List[float]]", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}, False),
        ("tuple[float, float]", {"type": "array"}, False),
        ("Dict[str, int]", {"type": "object"}, False),
        ("any", {}, False),
        ("callable[[float], float]", {}, False),
        ("Union[int, str]", {}, False),
    ],
)
def test_types(name: str, schema: dict, optional: bool) -> None:
    assert normalize_type(name) == (schema, optional)


def test_training_layout_with_required_beside_parameters() -> None:
    tool = normalize_tool(
        {
            "name": "book",
            "description": "Book it.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "seats": {"type": "int", "default": "2"},
                    "name": {"type": "str, optional", "description": "who"},
                    "type": {"type": "str", "enum": ["a", "b"]},
                },
            },
            "required": ["seats", "name"],
        },
        "f:1",
    )
    assert tool.parameters == {
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


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{", "not valid JSON"),
        ({}, "'name' is missing"),
        ([], "must be an object"),
        ({"name": "t", "parameters": 3}, "of 't'"),
    ],
)
def test_a_broken_tool_names_its_place(raw: object, message: str) -> None:
    with pytest.raises(DataError, match=f"f:3: .*{message}"):
        normalize_tool(raw, "f:3")


def test_a_call_is_checked_against_its_own_tool() -> None:
    tool = normalize_tool(
        {"name": "t", "parameters": {"n": {"type": "int"}, "c": {"type": "str", "enum": ["x"]}}, "required": ["n"]}, "w"
    )
    assert call_problems(ToolCall("t", {"n": 1, "c": "x"}), [tool]) == []
    assert call_problems(ToolCall("u", {}), [tool]) == ["there is no tool 'u'"]
    assert "'n' is a required property" in call_problems(ToolCall("t", {}), [tool])[0]
    assert "is not of type 'integer'" in call_problems(ToolCall("t", {"n": "1"}), [tool])[0]
    assert "is not one of" in call_problems(ToolCall("t", {"n": 1, "c": "y"}), [tool])[0]
    assert "has no argument 'z'" in call_problems(ToolCall("t", {"n": 1, "z": 1}), [tool])[0]
    strange = Tool("s", "", {"type": "object", "properties": {"a": {"type": "tuple"}}})
    assert "unknown type" in call_problems(ToolCall("s", {"a": 1}), [strange])[0]
