import pytest

from calltune.calling.type_names import NamedType, read_type

TWO = {"anyOf": [{"type": "integer"}, {"type": "string"}]}


@pytest.mark.parametrize(
    ("name", "schema", "optional"),
    [
        ("str", {"type": "string"}, False),
        ("string", {"type": "string"}, False),
        ("INT", {"type": "integer"}, False),
        ("float", {"type": "number"}, False),
        ("dict", {"type": "object"}, False),
        ("str, optional", {"type": "string"}, True),
        ("str, default 'x'", {"type": "string"}, True),
        ("Optional[int]", {"type": "integer"}, True),
        ("Optional[List[int]], optional", {"type": "array", "items": {"type": "integer"}}, True),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}, False),
        ("typing.List[int]", {"type": "array", "items": {"type": "integer"}}, False),
        ("list(str)", {"type": "array", "items": {"type": "string"}}, False),
        ("ArrayList<String>", {"type": "array", "items": {"type": "string"}}, False),
        ("List[List[float]]", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}, False),
        ("tuple[float, float]", {"type": "array"}, False),
        ("tuple[float", {"type": "array"}, False),
        ("list[union[int", {"type": "array"}, False),
        ("Dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}, False),
        ("Dict[str, Any]", {"type": "object"}, False),
        ("Union[int, str]", TWO, False),
        ("int | str", TWO, False),
        ("Union[int, str, None]", TWO, True),
        ("str | None", {"type": "string"}, True),
        ("Union[int, thing]", {}, False),
        ("Literal['a', 'b']", {"type": "string", "enum": ["a", "b"]}, False),
        ("Literal['a, b', 2]", {"enum": ["a, b", 2]}, False),
        ("Literal[x]", {}, False),
        ("any", {}, False),
        ("callable[[float], float]", {}, False),
        ("", {}, False),
        ("list[" * 1000, {}, False),
    ],
)
def test_type_names(name: str, schema: dict, optional: bool) -> None:
    assert read_type(name) == NamedType(schema, optional)
