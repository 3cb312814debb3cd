"""Schemas as MCP, OpenAPI, Anthropic, Bedrock and Gemini publish them: read alike, left as they are, judged rightly."""

import json
from typing import Any

import pytest

from calltune.calling.arguments import argument_schemas, judged, required_arguments
from calltune.calling.edits import Change, changes_told_to
from calltune.calling.schema import (
    call_problems,
    drop_null_padding,
    normalize_tool,
    published_tool,
    read_tool,
    takes_null,
)
from calltune.types import Tool, ToolCall

NODE = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
    "required": ["v"],
}
A = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
B = {"type": "object", "properties": {"b": {"type": "integer"}}}
CARD = {"properties": {"kind": {"const": "card"}, "number": {"type": "string"}}, "required": ["kind", "number"]}
CASH = {"properties": {"kind": {"const": "cash"}}, "required": ["kind"]}

ROOTS: dict[str, tuple[dict[str, Any], list[dict], list[tuple[dict, str]]]] = {
    "a reference": (
        {"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"},
        [{"v": 1}, {"v": 1, "next": {"v": 2, "next": None}}],
        [({"v": 1, "z": 1}, "unknown_argument"), ({}, "missing_argument"), ({"v": "1"}, "wrong_type")],
    ),
    "a reference to itself": (
        {**NODE, "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}},
        [{"v": 1, "next": {"v": 2}}],
        [({"v": 1, "next": {}}, "missing_argument"), ({"v": 1, "z": 1}, "unknown_argument")],
    ),
    "references in a ring of alternatives": (
        {
            "definitions": {
                "X": {"anyOf": [{"$ref": "#/definitions/Y"}, A]},
                "Y": {
                    "oneOf": [
                        {**B, "required": ["b"]},
                        {"properties": {"x": {"$ref": "#/definitions/X"}}, "required": ["x"]},
                    ]
                },
            },
            "$ref": "#/definitions/X",
        },
        [{"a": "x"}, {"b": 1}, {"x": {"b": 1}}],
        [({"a": "x", "z": 1}, "unknown_argument")],
    ),
    "allOf": (
        {"allOf": [A, B]},
        [{"a": "x"}, {"a": "x", "b": 1}],
        [({"b": 1}, "missing_argument"), ({"a": "x", "c": 1}, "unknown_argument"), ({"a": 1}, "wrong_type")],
    ),
    "allOf with a reference beside properties": (
        {"$defs": {"A": A}, "allOf": [{"$ref": "#/$defs/A"}], "type": "object", "properties": {"c": {}}},
        [{"a": "x", "c": 1}],
        [({"c": 1}, "missing_argument"), ({"a": "x", "b": 1}, "unknown_argument")],
    ),
    "anyOf": ({"anyOf": [A, B]}, [{"a": "x"}, {"b": 1}], [({"a": "x", "c": 1}, "unknown_argument")]),
    "anyOf of what is required": (
        {**A, "required": [], "properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        [{"a": 1}, {"b": 1}],
        [({}, "wrong_type"), ({"a": 1, "c": 1}, "unknown_argument")],
    ),
    "oneOf": (
        {"type": "object", "oneOf": [CARD, CASH]},
        [{"kind": "cash"}, {"kind": "card", "number": "1"}],
        [({"kind": "card"}, "wrong_type"), ({"kind": "cash", "pin": 1}, "unknown_argument")],
    ),
    "closed alternatives": (
        {"oneOf": [{**CARD, "additionalProperties": False}, {**CASH, "additionalProperties": False}]},
        [{"kind": "cash"}],
        [({"kind": "cash", "number": "1"}, "wrong_type"), ({"kind": "cash", "z": 1}, "unknown_argument")],
    ),
    "an open branch": ({"allOf": [A, {"additionalProperties": True}]}, [{"a": "x", "z": 1}], []),
    "conditions": (
        {**A, "if": {"properties": {"a": {"const": "x"}}}, "then": {"properties": {"c": {"type": "integer"}}}},
        [{"a": "x", "c": 1}, {"a": "y", "c": "z"}],
        [({"a": "x", "c": "z"}, "wrong_type"), ({"a": "y", "d": 1}, "unknown_argument")],
    ),
    "names by pattern": (
        {"type": "object", "properties": {}, "patternProperties": {"^x-": {}}, "additionalProperties": False},
        [{"x-1": 1}],
        [({"y": 1}, "unknown_argument")],
    ),
    "a name by an unreadable pattern": (
        {"type": "object", "patternProperties": {"^\\p{L}$": {"type": "string"}}, "additionalProperties": False},
        [{"é": "x"}, {"other": 1}],
        [],
    ),
    "nullable": (
        {"type": "object", "properties": {"x": {"type": "string", "nullable": True}}, "required": ["x"]},
        [{"x": None}, {"x": "a"}],
        [({"x": 1}, "wrong_type"), ({}, "missing_argument")],
    ),
    "nullable of every shape": (
        {
            "type": "object",
            "$defs": {"A": A},
            "properties": {
                "listed": {"type": "string", "enum": ["x"], "nullable": True},
                "fixed": {"const": 1, "nullable": True},
                "any": {"anyOf": [A, B], "nullable": True},
                "one": {"oneOf": [CARD, CASH, {"type": "null"}], "nullable": True},
                "all": {"allOf": [{"$ref": "#/$defs/A"}], "nullable": True},
                "ref": {"$ref": "#/$defs/A", "nullable": True, "description": "d"},
                "swagger": {"type": "integer", "x-nullable": True},
                "many": {"type": "array", "items": {"type": "integer", "nullable": True}},
                "never": {"type": "integer", "nullable": False},
            },
        },
        [
            *({name: None} for name in ("listed", "fixed", "any", "one", "all", "ref", "swagger")),
            {"many": [1, None], "ref": {"a": "x"}, "all": {"a": "x"}, "listed": "x", "fixed": 1},
        ],
        [
            *(({name: value}, "not_in_enum") for name, value in (("listed", "y"), ("fixed", 2))),
            *(({name: 1.5}, "wrong_type") for name in ("any", "one", "all", "ref", "swagger", "never")),
            ({"never": None}, "wrong_type"),
        ],
    ),
    "bounds of draft 4": (
        {
            "type": "object",
            "properties": {
                "n": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                "m": {"type": "number", "maximum": 9, "exclusiveMaximum": True},
                "o": {"type": "number", "minimum": 0, "exclusiveMinimum": False, "exclusiveMaximum": True},
            },
        },
        [{"n": 0.1, "m": 8, "o": 0}],
        [({"n": 0}, "broken_rule"), ({"m": 9}, "broken_rule"), ({"o": -1}, "broken_rule")],
    ),
    "bounds of 2020-12": (
        {"type": "object", "properties": {"n": {"type": "number", "exclusiveMinimum": 0}}},
        [{"n": 1}],
        [({"n": 0}, "broken_rule")],
    ),
}
"""Parameters as published, arguments that fit, and arguments that do not with the kind of their first problem."""


def published(parameters: Any) -> dict[str, Any]:
    return {"name": "t", "description": "d", "parameters": parameters}


@pytest.mark.parametrize("name", ROOTS)
def test_a_schema_stays_as_it_is_and_is_judged_through_its_branches(name: str) -> None:
    parameters, right, wrong = ROOTS[name]
    tool, changes = read_tool(published(parameters), "f:1")
    assert (tool.parameters, changes) == (parameters, ())
    for arguments in right:
        call = ToolCall("t", arguments)
        assert [str(problem) for problem in call_problems(call, [tool])] == []
        assert drop_null_padding(call, [tool]) == (call, ())
    for arguments, kind in wrong:
        assert [problem.kind for problem in call_problems(ToolCall("t", arguments), [tool])][:1] == [kind], arguments


@pytest.mark.parametrize("pattern", ["^\\p{L}+$", "^(?<year>\\d{4})$", "\\u{1F600}", "(", "[[a]"])
@pytest.mark.parametrize("place", ["argument", "items", "branch", "names"])
def test_a_pattern_that_python_cannot_read_judges_nothing_and_is_told(pattern: str, place: str) -> None:
    text = {"type": "string", "pattern": pattern}
    prop = {"items": {"type": "array", "items": text}, "branch": {"anyOf": [text]}}.get(place, text)
    parameters = {"type": "object", "properties": {"s": prop}}
    if place == "names":
        parameters = {"type": "object", "patternProperties": {pattern: text}}
    heard: list[tuple[str, str, tuple[Change, ...]]] = []
    with changes_told_to(lambda *told: heard.append(told)):
        tool = normalize_tool(published(parameters), "f:1")
    ((where, what, (change, *more)),) = heard
    assert (where, what, change.kind, change.before, change.after, more) == (
        *("f:1", "t", "not_judged", pattern, pattern),
        [],
    )
    assert tool.parameters == parameters
    given = ["é"] if place == "items" else "é"
    assert call_problems(ToolCall("t", {"s": given}), [tool]) == []
    wrong = [3] if place == "items" else 3
    assert place == "names" or [p.kind for p in call_problems(ToolCall("t", {"s": wrong}), [tool])] == ["wrong_type"]
    readable = json.loads(json.dumps(parameters).replace(json.dumps(pattern), '"^[a-z]$"'))
    assert judged(readable) == (readable, ())


@pytest.mark.parametrize(
    ("prop", "stays"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, True),
        ({"type": ["string", "null"], "default": None}, True),
        ({"type": "string", "nullable": True, "default": None}, True),
        ({"type": "string", "default": None}, False),
        ({"const": None}, False),
    ],
)
def test_a_null_that_its_author_wrote_stays(prop: dict[str, Any], stays: bool) -> None:
    """Where Arrow has padded the schema, only what lets null pass can have been written so."""
    parameters = {"type": "object", "properties": {"a": prop}, "required": []}
    tool, changes = read_tool(published(parameters), "f:1")
    assert (tool.parameters, changes) == (parameters, ())
    padded = {**parameters, "properties": {"a": {**prop, "items": None}, "stranger": None}}
    kept = {key: value for key, value in prop.items() if value is not None or stays}
    assert normalize_tool(published(padded), "f:1").parameters["properties"] == {"a": kept}


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "additionalProperties": False},
        {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"a": {"title": "A"}}},
    ],
)
def test_what_an_author_left_out_is_not_written(parameters: dict[str, Any]) -> None:
    assert read_tool(published(parameters), "f:1") == (Tool("t", "d", parameters), ())


def test_geminis_words_become_json_schemas() -> None:
    prop = {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "1", "max_items": "3"}
    either = {"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": True}
    raw = published({"type": "OBJECT", "properties": {"a": prop, "b": either}, "required": ["a"]})
    tool, changes = read_tool(raw, "f:1")
    assert tool.parameters["properties"] == {
        "a": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
        "b": {"anyOf": [{"type": "number"}, {"type": "boolean"}], "nullable": True},
    }
    assert {change.kind for change in changes} == {"type_name", "keyword"}
    assert published_tool(tool, changes) == raw
    assert call_problems(ToolCall("t", {"a": ["x"], "b": None}), [tool]) == []
    assert [p.kind for p in call_problems(ToolCall("t", {"a": []}), [tool])] == ["broken_rule"]


def test_nulls_that_arrow_wrote_are_dropped_in_branches() -> None:
    walk, pay = (normalize_tool(published(ROOTS[name][0]), "w") for name in ("a reference", "oneOf"))
    padded = {"v": 1, "next": {"v": 2, "next": None, "z": None}, "z": None}
    repaired, changes = drop_null_padding(ToolCall("t", padded), [walk])
    assert repaired.arguments == {"v": 1, "next": {"v": 2, "next": None}}
    assert {change.path for change in changes} == {"/arguments/z", "/arguments/next/z"}
    assert drop_null_padding(ToolCall("t", {"kind": "cash", "number": None}), [pay])[0].arguments == {"kind": "cash"}
    nowhere = Tool("t", "", {"$ref": "#/gone", "properties": {"a": {"type": "string"}}})
    assert drop_null_padding(ToolCall("t", {"b": None}), [nowhere])[0].arguments == {"b": None}
    assert [takes_null(walk, name) for name in ("v", "next", "z")] == [False, True, False]


def test_what_the_branches_know() -> None:
    assert list(argument_schemas(ROOTS["oneOf"][0])) == ["kind", "number"]
    assert required_arguments(ROOTS["oneOf"][0]) == []
    assert required_arguments(ROOTS["allOf"][0]) == ["a"]
    assert argument_schemas(ROOTS["a reference"][0]) == NODE["properties"]
    assert required_arguments(ROOTS["a reference"][0]) == ["v"]
    assert argument_schemas({"properties": {"a": True}, "allOf": [3], "anyOf": {}, "$ref": "#/x", "then": 1}) == {
        "a": {}
    }
