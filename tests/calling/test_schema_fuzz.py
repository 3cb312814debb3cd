"""Random schemas and calls: no crash, every edit can be undone, what was normalised stays as it is."""

import json
import random
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from calltune.calling.arguments import NO_SCHEMAS, SCHEMA_FAILURES, judged
from calltune.calling.edits import Change
from calltune.calling.schema import Problem, call_problems, drop_null_padding, published_tool, read_tool
from calltune.calling.type_names import read_type
from calltune.errors import DataError
from calltune.types import Tool, ToolCall

SEEDS = st.integers(0, 2**32)
UNKNOWN = ("additionalProperties", "unevaluatedProperties")
QUICK = {"deadline": None, "derandomize": True, "database": None}

NAMES = ("a", "b", "type", "required", "properties", "default", "", "x/y~z")
TYPES = (
    *("string", "integer", "number", "boolean", "array", "object", "null", "str", "int", "float", "dict", "any"),
    *("List[int]", "Dict[str, int]", "Union[int, str]", "Optional[str]", "str, optional", "Literal['a', 1]"),
    *("list[union[int", "callable", "str | None", ""),
)
SCALARS = (None, True, False, 0, -1, 7, 10**400, 1.5, 1e308, 5e-324, "", "1", "None", "true", "[1]", "{'a': 1}", "inf")
LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
MAPS_OF_SCHEMAS = ("properties", "$defs", "patternProperties", "dependentSchemas")
RULES = (
    *("minimum", "multipleOf", "maxLength", "minItems", "uniqueItems", "format", "const", "default", "extra"),
    *("nullable", "exclusiveMinimum", "any_of", "min_items", "dependentSchemas"),
)
REFERENCES = ("#/properties/a", "#/nowhere", "http://127.0.0.1:9/x", "é")  # circles are slow, and tested by name


class Maker:
    """Draws values and schemas, most of them nearly right and some of them wild."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def value(self, depth: int = 2) -> Any:
        kind = self.dice.random()
        if depth == 0 or kind < 0.6:
            return self.dice.choice(SCALARS)
        size = self.dice.randrange(3)
        if kind < 0.8:
            return [self.value(depth - 1) for _ in range(size)]
        return {self.dice.choice(NAMES): self.value(depth - 1) for _ in range(size)}

    def schema(self, depth: int = 3) -> Any:
        if self.dice.random() < 0.07:
            return self.dice.choice(TYPES) if self.dice.random() < 0.5 else self.value()
        return self.object_schema(depth)

    def object_schema(self, depth: int = 3) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in self.dice.sample(("type", "type", "required", "enum", "$ref", "pattern", *RULES), 3):
            found[key] = self.keyword(key)
        if depth:
            for key in self.dice.sample(("not", "additionalProperties", *LISTS_OF_SCHEMAS, *MAPS_OF_SCHEMAS * 2), 1):
                found[key] = self.keyword(key, depth - 1)
        return found

    def keyword(self, key: str, depth: int = 0) -> Any:
        if self.dice.random() < 0.1:
            return self.value()
        size = range(self.dice.randrange(3))
        if key == "type":
            return self.dice.choice(TYPES) if self.dice.random() < 0.8 else [self.dice.choice(TYPES) for _ in size]
        if key == "required":
            return self.dice.choice((True, False, "true", [self.dice.choice(NAMES) for _ in size]))
        if key in ("$ref", "pattern"):
            return self.dice.choice(REFERENCES if key == "$ref" else ("(", "a", "\\", "\\p{L}"))
        if key == "enum":
            return [self.dice.choice(SCALARS) for _ in size]
        if key in MAPS_OF_SCHEMAS:
            return {self.dice.choice(NAMES): self.schema(depth) for _ in size}
        if key in LISTS_OF_SCHEMAS and self.dice.random() < 0.8:
            return [self.schema(depth) for _ in size]
        return self.value() if key in RULES else self.schema(depth)

    def tool(self) -> dict[str, Any]:
        found = {"name": "t", "description": self.dice.choice(("d", None, 3)), "parameters": self.schema()}
        for key in self.dice.sample(("required", "strict", "type"), self.dice.randrange(2)):
            found[key] = self.keyword(key)
        return found

    def call(self) -> ToolCall:
        return ToolCall("t", {self.dice.choice(NAMES): self.value() for _ in range(self.dice.randrange(4))})


def checked(call: ToolCall, tool: Tool) -> None:
    problems = call_problems(call, [tool])
    assert all(isinstance(problem, Problem) and "\n" not in problem.text for problem in problems)
    repaired, changes = drop_null_padding(call, [tool])
    assert (repaired == call) == (not changes)
    assert all((change.before, change.op) == (None, "remove") for change in changes)


def read_or_refused(raw: Any) -> tuple[Tool, tuple[Change, ...]] | None:
    refusal = ""
    try:
        return read_tool(raw, "f:1")
    except DataError as error:
        refusal = str(error)
    assert refusal.startswith("f:1: ")
    return None


@settings(max_examples=4000, **QUICK)
@given(SEEDS)
def test_normalised_undone_and_called(seed: int) -> None:
    maker = Maker(seed)
    raw = maker.tool()
    found = read_or_refused(raw)
    if found is None:
        return
    tool, changes = found
    assert json.dumps(published_tool(tool, changes), sort_keys=True) == json.dumps(raw, sort_keys=True)
    again, more = read_tool({"name": tool.name, "description": tool.description, "parameters": tool.parameters}, "w")
    assert (again, more) == (tool, ())
    checked(maker.call(), tool)


@settings(max_examples=4000, **QUICK)
@given(SEEDS)
def test_a_call_against_a_schema_that_nobody_normalised(seed: int) -> None:
    maker = Maker(seed)
    checked(maker.call(), Tool("t", "", maker.object_schema()))


@settings(max_examples=4000, **QUICK)
@given(SEEDS)
def test_what_needs_no_reading_is_judged_as_jsonschema_judges_it(seed: int) -> None:
    maker = Maker(seed)
    schema, call = maker.object_schema(), maker.call()
    copy, unread = judged(schema)
    if copy != schema or unread:
        return
    try:
        errors = list(jsonschema.Draft202012Validator(schema, registry=NO_SCHEMAS).iter_errors(dict(call.arguments)))
        expected = sorted(" ".join(error.message.split())[-10:] for error in errors if error.validator not in UNKNOWN)
    except SCHEMA_FAILURES:
        expected = None
    problems = [p for p in call_problems(call, [Tool("t", "", schema)]) if p.kind != "unknown_argument"]
    if expected is None:
        assert [problem.kind for problem in problems] == ["invalid_schema"]
    else:
        assert sorted(" ".join(problem.text.split())[-10:] for problem in problems) == expected


@settings(max_examples=1000, **QUICK)
@given(SEEDS)
def test_anything_in_place_of_a_tool(seed: int) -> None:
    read_or_refused(Maker(seed).value())


@settings(max_examples=1000, **QUICK)
@given(st.text(alphabet="listdcUnoOpaLerl[](){}<>,|'\" 1", max_size=30) | st.text(max_size=10))
def test_anything_in_place_of_a_type_s_name(name: str) -> None:
    assert json.dumps(dict(read_type(name).schema), allow_nan=False)
