"""Answers to BFCL rows, made by rule from the accepted values, the same ones for the official checker and for ours.

An answer is a list of calls `[name, arguments]`, a text without a call, or None for a call that cannot be read. No
chance is involved: a row always gives the same answers in the same order, and `digest` says whether it still does.
"""

import copy
import hashlib
import json
from collections.abc import Iterator
from typing import Any

Answer = list[list[Any]] | str | None
PLAIN_TEXT = "I am afraid that I can only talk about it."
JAVA_ELEMENTS = {"String": "String", "integer": "Integer", "long": "Long", "char": "Character", "any": "Object"}
MOST_ARGUMENTS = 3  # of a call, that are spoilt one by one


def language_of(row_id: str) -> str:
    if "_java_" in row_id:
        return "java"
    return "javascript" if "_javascript_" in row_id else "python"


def digest(answers: Any) -> str:
    """Ten hex digits that tell whether these, in a list or by their names, are what was recorded."""
    listed = list(answers.items()) if isinstance(answers, dict) else answers
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:10]


def derive(row: dict[str, Any], truth: list[dict[str, Any]] | None) -> dict[str, Answer]:
    """Every answer by the name of its rule; `truth` None: a row of irrelevance or relevance."""
    answers: dict[str, Answer] = {"empty": [], "text": PLAIN_TEXT, "braces": "{}", "malformed": None}
    if truth is None:
        tools = [function["name"].replace(".", "_") for function in row["function"]] or ["no_such_tool"]
        answers["first_tool"] = [[tools[0], {}]]
        answers["last_tool_argument"] = [[tools[-1], {"unexpected_argument": 1}]]
        answers["invented_tool"] = [["no_such_tool", {"a": 1}]]
        answers["two_calls"] = [[tools[0], {}], ["no_such_tool", {}]]
        return answers
    answers |= _derived(row, [_Expected(row, call) for call in truth])
    return answers


class _Expected:
    """One expected call: its tool, and the arguments of the perfect answer as plain values."""

    def __init__(self, row: dict[str, Any], call: dict[str, Any]) -> None:
        self.name, self.accepted = next(iter(call.items()))
        self.language = language_of(row["id"])
        function = next(f for f in row["function"] if f["name"] == self.name)
        self.properties = function["parameters"]["properties"]
        self.required = function["parameters"]["required"]
        self.others = [f["name"].replace(".", "_") for f in row["function"] if f["name"] != self.name]
        self.perfect = {}
        for key, values in self.accepted.items():
            value = pick(values)
            if key in self.properties and (value != "" or key in self.required):
                self.perfect[key] = value

    def call(self, values: dict[str, Any] | None = None) -> list[Any]:
        arguments = {key: self.write(key, value) for key, value in (self.perfect if values is None else values).items()}
        return [self.name.replace(".", "_"), arguments]

    def named(self, name: str) -> list[Any]:
        return [name, self.call()[1]]

    def replaced(self, key: str, value: Any) -> list[Any]:
        name, arguments = self.call()
        return [name, {**arguments, key: value}]

    def write(self, key: str, value: Any) -> Any:
        kind = self.properties.get(key, {})
        return value if self.language == "python" else spellings(value, kind, self.language)[0]


def pick(values: Any) -> Any:
    """The first accepted value that is not the mark of an optional one, with the lists inside an object resolved."""
    value = next((value for value in values if value != ""), "")
    if isinstance(value, dict):
        return {key: pick(inner) for key, inner in value.items() if pick(inner) != ""}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [pick([item]) for item in value]
    return value


def spellings(value: Any, kind: dict[str, Any], language: str) -> list[str]:
    """How a value can be written in Java or JavaScript; the first is the one the official checker reads."""
    name, element = kind.get("type", "any"), kind.get("items", {}).get("type", "any")
    if isinstance(value, bool):
        return ["true" if value else "false", str(value)]
    if isinstance(value, int | float):
        suffix = {"long": "L", "Bigint": "n", ("float" if language == "java" else ""): "f"}.get(name, "")
        return [f"{value}{suffix}", f"{value}", f"{value}L", f"{value}f", f" {value}", f"{value}e0", f'"{value}"']
    if isinstance(value, list):
        quoted = [json.dumps(v) if isinstance(v, str) else spellings(v, {"type": element}, language)[0] for v in value]
        if language == "javascript":
            inner = ", ".join(quoted)
            return [
                f"[{inner}]",
                f"new Array({inner})",
                f"[{inner.replace(chr(34), chr(39))}]",
                f" [ {inner} ] ",
                inner,
            ]
        typed = JAVA_ELEMENTS[element]
        bare = [str(v) if isinstance(v, str) else q for v, q in zip(value, quoted, strict=True)]
        listed = f"new ArrayList<{typed}>(Arrays.asList({', '.join(quoted)}))"
        added = f"new ArrayList<>() {{{{ {' '.join(f'add({q});' for q in quoted)} }}}}"
        array, strict = (f"new {typed}[]{{{', '.join(items)}}}" for items in (bare, quoted))
        texts = [listed, added, array, strict, f"List.of({', '.join(quoted)})", "new ArrayList<>()"]
        return texts if name == "ArrayList" else [array, strict, listed, f"new {typed}[] {{ }}"]
    if isinstance(value, dict):
        pairs = {k: json.dumps(v) if isinstance(v, str) else spellings(v, {}, language)[0] for k, v in value.items()}
        if language == "java":
            puts = " ".join(f'put("{k}", {v});' for k, v in pairs.items())
            empty = "new HashMap<>()"
            return [f"{empty} {{{{ {puts} }}}}", f"{empty}\n{{\n  {{\n {puts} }} }}", f"Map.of({puts})", empty]
        body = ", ".join(f"{k}: {v}" for k, v in pairs.items())
        strict = ", ".join(f"'{k}': {v}" for k, v in pairs.items())
        return [f"{{{body}}}", f"{{{strict}}}", f"{{\n{body}\n}}", f"{{ {body} }}", "{}"]
    text = str(value)
    return [text, json.dumps(text), f"'{text}'", f"{text} "]


def _derived(row: dict[str, Any], expected: list[_Expected]) -> Iterator[tuple[str, Answer]]:
    perfect = [one.call() for one in expected]
    yield "perfect", perfect
    for index in sorted({0, len(expected) - 1}):
        for rule, call in _spoilt_calls(expected[index]):
            yield f"{rule}@{index}", [*perfect[:index], call, *perfect[index + 1 :]]
    yield "extra_call", [*perfect, perfect[0]]
    yield "restyled", [one.call(_restyled(one.perfect)) for one in expected]
    if len(expected) > 1:
        yield "reversed_calls", perfect[::-1]
        yield "rotated_calls", [*perfect[1:], perfect[0]]
        yield "dropped_call", perfect[:-1]
        yield "repeated_call", [*perfect[:-1], perfect[0]]
        yield "swapped_arguments", [[perfect[0][0], perfect[1][1]], [perfect[1][0], perfect[0][1]], *perfect[2:]]


def _spoilt_calls(one: _Expected) -> Iterator[tuple[str, list[Any]]]:
    yield "invented_tool", one.named("no_such_tool")
    yield "no_arguments", one.call({})
    yield "extra_argument", one.replaced("unexpected_argument", 1)
    if one.others:
        yield "other_tool", one.named(one.others[0])
    if "." in one.name:
        yield "dotted_name", one.named(one.name)
    optional = [key for key in one.perfect if "" in one.accepted[key] and key not in one.required]
    if optional:
        yield "optional_omitted", one.call({k: v for k, v in one.perfect.items() if k not in optional})
    unnamed = [key for key in one.properties if key not in one.accepted]
    if unnamed:
        yield "unaccepted_argument", one.replaced(unnamed[0], "x")
    for key, value in list(one.perfect.items())[:MOST_ARGUMENTS]:
        yield f"missing:{key}", one.call({k: v for k, v in one.perfect.items() if k != key})
        for number, accepted in enumerate(one.accepted[key][1:3], start=1):
            other = one.write(key, pick([accepted]))
            yield f"accepted:{key}:{number}", one.replaced(key, other)
        for rule, changed in _changed(value):
            spoilt = one.write(key, changed) if rule != "wrong_type" else changed
            yield f"{rule}:{key}", one.replaced(key, spoilt)
        if one.language != "python":
            for number, text in enumerate(spellings(value, one.properties[key], one.language)[1:], start=1):
                yield f"spelled:{key}:{number}", one.replaced(key, text)
            yield f"plain_value:{key}", one.replaced(key, value)
    yield "stringified", [one.call()[0], {key: str(value) for key, value in one.perfect.items()}]


def _changed(value: Any) -> Iterator[tuple[str, Any]]:
    """The value, wrong in every way that its type offers."""
    yield "null", None
    if isinstance(value, bool):
        yield from [("wrong_value", not value), ("wrong_type", "true"), ("as_int", int(value))]
    elif isinstance(value, int):
        yield from [("wrong_value", value + 1), ("wrong_type", [value]), ("as_float", float(value)), ("as_bool", True)]
    elif isinstance(value, float):
        yield from [("wrong_value", value + 0.5), ("wrong_type", f"{value}")]
        if value.is_integer():
            yield "int_for_float", int(value)
    elif isinstance(value, str):
        yield from [
            ("wrong_value", f"{value} x"),
            ("wrong_type", 7),
            ("spaced", f" {value}. "),
            ("quoted", f"'{value}'"),
        ]
        yield "listed", [value]
    elif isinstance(value, list):
        yield from [("wrong_value", [*value, *(value[-1:] or [1])]), ("wrong_type", {"items": value}), ("emptied", [])]
        yield from [("reversed", value[::-1]), ("wrong_elements", [[v] for v in value]), ("nested_null", [None])]
        yield "text_elements", [str(v) for v in value]
        if value and all(isinstance(v, float) for v in value):
            yield "int_for_float", [int(v) for v in value]
        if value and isinstance(value[0], dict):
            for rule, changed in _changed_object(value[0]):
                yield rule, [changed, *value[1:]]
    elif isinstance(value, dict):
        yield from [("wrong_type", [value]), ("emptied", {})]
        yield from _changed_object(value)


def _changed_object(value: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "extra_key", {**value, "unexpected_key": 1}
    if value:
        key = next(iter(value))
        yield "missing_key", {k: v for k, v in value.items() if k != key}
        yield "wrong_inner_value", {**value, key: [value[key], "x"]}
        yield "text_inner_value", {**value, key: str(value[key])}


def _restyled(value: Any) -> Any:
    """Texts in capitals, with punctuation that BFCL does not look at."""
    if isinstance(value, str):
        return value.upper().replace(" ", "_-") + "."
    if isinstance(value, list):
        return [_restyled(item) for item in value]
    if isinstance(value, dict):
        return {key: _restyled(item) for key, item in copy.deepcopy(value).items()}
    return value
