"""BFCL questions and answers made up at random, the same ones for the official checker and for ours.

The rules of `bfcl_answers.py` meet the cases that somebody thought of; these meet others: accepted values that are not
of their argument's type, objects in lists in objects, source code with a bracket too many. The same seed gives the same
ones, and `bfcl_answers.digest` says whether it still does.
"""

import random
from collections.abc import Iterator
from typing import Any

from bfcl_answers import Answer

TYPES = {
    "python": ["string", "any", "integer", "float", "boolean", "array", "tuple", "dict"],
    "java": [
        *("String", "char", "any", "byte", "short", "integer", "long", "float", "double", "boolean"),
        *("Array", "ArrayList", "HashMap"),
    ],
    "javascript": ["String", "any", "integer", "Bigint", "float", "Boolean", "array", "dict"],
}
LISTS = {"array", "tuple", "Array", "ArrayList"}
OBJECTS = {"dict", "HashMap"}
CATEGORIES = {
    "python": [
        *("simple_python", "multiple", "parallel", "parallel_multiple"),
        *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
    ],
    "java": ["simple_java"],
    "javascript": ["simple_javascript"],
}
TEXTS = [
    "a",
    "B c",
    "New-York",
    "x_y",
    "it's",
    "5",
    "5.0",
    "true",
    "",
    "New York, NY",
    "[1]",
    "{}",
    "null",
    "é",
    "a^b*",
]
CODE = ["x", "", "null", "obj.field", "new Foo()"]
SPOILERS = ["", ",", '"', "'", " ", "\n", "[", "]", "}", "{", "1", "e5", "."]
JAVA_LISTS = [
    *("new int[]{%s}", "new String[] { %s }", "new ArrayList<>(Arrays.asList(%s))", "Arrays.asList(%s)"),
    "new ArrayList<String>(Arrays.asList(%s))",
]
NUM_ANSWERS = 12

Question = tuple[dict[str, Any], list[dict[str, Any]], list[Answer]]
"""A row of BFCL, its ground truth, and the answers to it."""


def questions(seed: int, num_questions: int) -> Iterator[Question]:
    """Questions of every category in which calls are compared, each with `NUM_ANSWERS` answers."""
    chance = random.Random(seed)
    values = _Values(chance)
    code = _Code(chance)
    for number in range(num_questions):
        language = chance.choice(["python", "python", "java", "javascript"])
        category = chance.choice(CATEGORIES[language])
        row_id = f"{category}_{number}-{number}-0" if category.startswith("live_") else f"{category}_{number}"
        num_functions = chance.randint(2, 3) if "multiple" in category else 1
        functions = [_function(chance, language, index) for index in range(num_functions)]
        num_calls = chance.randint(1, 3) if "parallel" in category else 1
        expected = [_expected(chance, values, chance.choice(functions)) for _ in range(num_calls)]
        row = {"id": row_id, "question": [[{"role": "user", "content": "Please."}]], "function": functions}
        answers = [_answer(chance, values, code, language, expected) for _ in range(NUM_ANSWERS)]
        yield row, [truth for _, _, truth in expected], answers


def _function(chance: random.Random, language: str, index: int) -> dict[str, Any]:
    properties = {}
    for name in ("p0", "p1", "p2")[: chance.randint(1, 3)]:
        kind = chance.choice(TYPES[language])
        properties[name] = {"type": kind, "description": "A value."}
        if kind in LISTS:
            properties[name]["items"] = {"type": chance.choice([other for other in TYPES[language] if other != "any"])}
    required = [name for name in properties if chance.random() < 0.6]
    parameters = {"type": "dict", "properties": properties, "required": required}
    name = f"{chance.choice(['f.g', 'fn', 'f_g'])}{index}"
    return {"name": name, "description": "A function.", "parameters": parameters}


Expected = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
"""A function, the arguments of a call of it, and its ground truth."""


def _expected(chance: random.Random, values: "_Values", function: dict[str, Any]) -> Expected:
    arguments, truth = {}, {}
    for name, schema in function["parameters"]["properties"].items():
        arguments[name] = values.of(schema) if chance.random() < 0.92 else values.anything()
        accepted = [values.accepted(arguments[name])]
        if chance.random() < 0.4:
            accepted.append(values.accepted(values.of(schema)))
        if chance.random() < 0.1:
            accepted.append(values.anything())
        if chance.random() < 0.3:
            accepted.insert(chance.choice([0, len(accepted)]), "")
        truth[name] = accepted
    if chance.random() < 0.05:
        truth["no_such_argument"] = ["", 1]
    return function, arguments, {function["name"]: truth}


def _answer(
    chance: random.Random, values: "_Values", code: "_Code", language: str, expected: list[Expected]
) -> list[list[Any]]:
    calls = []
    for function, perfect, _ in expected:
        arguments = {}
        for name, value in perfect.items():
            if chance.random() < 0.06:
                continue
            given = values.changed(value) if chance.random() < 0.6 else value
            if language != "python" and chance.random() < 0.96:
                given = code.of(given, function["parameters"]["properties"][name], language)
            arguments[name] = given
        if chance.random() < 0.04:
            arguments["unexpected_argument"] = 1
        wrong = chance.choice(["no_such_tool", function["name"]])
        calls.append([wrong if chance.random() < 0.04 else function["name"].replace(".", "_"), arguments])
    if chance.random() < 0.05:
        calls = calls[1:]
    if chance.random() < 0.03:
        calls = calls + calls[:1]
    if chance.random() < 0.3:
        chance.shuffle(calls)
    return calls


class _Values:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def of(self, schema: dict[str, Any]) -> Any:
        """A value of a BFCL type."""
        kind, items = schema["type"], schema.get("items", {}).get("type")
        if kind in LISTS:
            if items in OBJECTS:
                return [self.of({"type": items}) for _ in range(self.chance.randrange(3))]
            if items in LISTS:
                return [self.anything(1) for _ in range(self.chance.randrange(3))]
            return [self._single(items) for _ in range(self.chance.randrange(4))]
        if kind in OBJECTS:
            return {self.chance.choice("abk"): self._inner() for _ in range(self.chance.randrange(3))}
        return self._single(kind)

    def _inner(self) -> Any:
        singles = [self._single(kind) for kind in ("string", "integer", "float")]
        return self.chance.choice([*singles, True, ["a", "B c"], [1, 2]])

    def _single(self, kind: str) -> Any:
        kind = kind.lower()
        if kind in ("string", "any", "char"):
            return self.chance.choice(TEXTS)
        if kind in ("float", "double"):
            return self.chance.choice([0.0, 1.0, 5.0, -3.5, 1e6, 5])
        return self.chance.random() < 0.5 if kind == "boolean" else self.chance.choice([0, 1, 5, -3, 10**6])

    def anything(self, depth: int = 0) -> Any:
        kind = self.chance.randrange(6 if depth == 2 else 8)
        if kind == 6:
            return [self.anything(depth + 1) for _ in range(self.chance.randrange(3))]
        if kind == 7:
            return {self.chance.choice("abk"): self.anything(depth + 1) for _ in range(self.chance.randrange(3))}
        return [self.chance.choice(TEXTS), self.chance.choice([0, 1, 5]), 5.5, True, None, ""][kind]

    def accepted(self, value: Any) -> Any:
        """A value as BFCL's ground truth writes it: in an object, every key has a list of values."""
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return [self.accepted(item) for item in value]
        if not isinstance(value, dict):
            return value
        others = [[""], [], [], [self.chance.choice(TEXTS)]]
        return {key: [inner, *self.chance.choice(others)] for key, inner in value.items()}

    def changed(self, value: Any) -> Any:
        if isinstance(value, str):
            near = [value.upper(), f"{value} ", value.replace(" ", ""), value.replace("-", " "), f"{value}z"]
            return self.chance.choice([*near, value.replace("'", '"'), self.anything()])
        if isinstance(value, bool):
            return self.chance.choice([not value, int(value), str(value).lower()])
        if isinstance(value, int | float):
            return self.chance.choice([value + 1, float(value), int(value), str(value), [value]])
        if isinstance(value, list) and value:
            other = [self.changed(value[0]), *value[1:]]
            return self.chance.choice([other, [*value, self.anything()], value[::-1], value[1:], self.anything()])
        if isinstance(value, dict) and value:
            first = next(iter(value))
            fewer = {key: inner for key, inner in value.items() if key != first}
            changed, more = {**value, first: self.changed(value[first])}, {**value, "z": self.anything(1)}
            return self.chance.choice([changed, more, fewer, self.anything()])
        return self.anything()


class _Code:
    """Values as source code of Java and JavaScript, right and wrong."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def of(self, value: Any, schema: dict[str, Any], language: str) -> str:
        text = self.chance.choice(CODE) if self.chance.random() < 0.08 else self._written(value, schema, language)
        if text and self.chance.random() < 0.25:
            place = self.chance.randrange(len(text))
            text = text[:place] + self.chance.choice(SPOILERS) + text[place + self.chance.randrange(2) :]
        return text

    def _written(self, value: Any, schema: dict[str, Any], language: str) -> str:
        kind = schema["type"]
        if isinstance(value, list) and kind in LISTS:
            return self._list(value, language)
        if isinstance(value, dict) and kind == "HashMap":
            puts = " ".join(f'put("{key}", {self._part(inner, language)});' for key, inner in value.items())
            empty = self.chance.choice(["new HashMap<>()", "new HashMap<String, Object>()"])
            return self.chance.choice([f"{empty} {{{{ {puts} }}}}", f"{empty} {{ {{ {puts} }} }}", empty])
        if isinstance(value, str) and kind in ("String", "char", "any"):
            return self.chance.choice([value, value, f'"{value}"'])
        suffix = {"long": "L", "Bigint": "n", "float": "f" if language == "java" else ""}.get(kind, "")
        return f"{value}{suffix}" if type(value) in (int, float) else self._part(value, language)

    def _list(self, value: list[Any], language: str) -> str:
        parts = [self._part(item, language) for item in value]
        inner = self.chance.choice([", ", ",", " , "]).join(parts)
        if language == "javascript":
            return self.chance.choice(["[%s]", "[%s]", "new Array(%s)", "[ %s ]", " [%s] "]) % inner
        added = " ".join(f"add({part});" for part in parts)
        return self.chance.choice(
            [*(pattern % inner for pattern in JAVA_LISTS), f"new ArrayList<>() {{{{ {added} }}}}"]
        )

    def _part(self, value: Any, language: str) -> str:
        quote = self.chance.choice(['"', '"', "'"]) if language == "javascript" else '"'
        if value is None or isinstance(value, bool):
            return "null" if value is None else str(value).lower()
        if isinstance(value, str):
            return self.chance.choice([f"{quote}{value}{quote}", f"{quote}{value}{quote}", value])
        if isinstance(value, list):
            inner = ", ".join(self._part(item, language) for item in value)
            return f"[{inner}]" if language == "javascript" else f"new int[]{{{inner}}}"
        if isinstance(value, dict):
            parts = [f"{key}: {self._part(inner, language)}" for key, inner in value.items()]
            return f"{{{', '.join(parts)}}}"
        return f"{value}{self.chance.choice(['', '', '', 'L' if language == 'java' else 'n', 'f'])}"
