"""BFCL's files, read once: a row becomes a sample whose target says which calls are expected, and with which values.

A folder holds `BFCL_v4_<category>.json` (JSON lines: `id`, `question` as a list of turns of messages, `function`) and
`possible_answer/` with files of the same names (`id`, `ground_truth`). Functions are offered as BFCL offers them to
models of OpenAI's style (`load_dataset_entry` and `convert_to_tool` of bfcl-eval 2026.3.23): dots in names become
underscores, the language is told in the description, and every argument of a Java or JavaScript function is a text, the
source code of its value. The notes in the descriptions are worded by us, and `any` is a schema that accepts everything.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from calltune.calling.schema import normalize_tool
from calltune.errors import DataError
from calltune.evaluation.benchmarks.bfcl_ast import KINDS, ExpectedArgument, ExpectedCall, Language
from calltune.files.json_lines import read_jsonl, require
from calltune.types import ROLES, Message, Sample, Tool

Category = Literal[
    "simple_python",
    "simple_java",
    "simple_javascript",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""BFCL v4's single-turn categories."""

_LANGUAGE_NAMES: Mapping[Language, str] = {"python": "Python 3", "java": "Java 8", "javascript": "JavaScript"}


def category_of(sample_id: str) -> str:
    """The category that BFCL writes into an id: `live_simple_3-1-0` -> `live_simple`."""
    return sample_id.rpartition("_")[0]


def category_file(folder: Path, category: Category) -> Path:
    """Where a category's questions are."""
    return folder / f"BFCL_v4_{category}.json"


def read_category(folder: Path, category: Category) -> Iterator[Sample]:
    """The samples of a category, in the order of its file.

    `target` is `{"expect": "no_call"}` (irrelevance), `{"expect": "any_call"}` (relevance), or `{"expect": "calls",
    "language", "calls": [{"name", "required", "arguments": {name: {"accepted", "type", "items"}}}]}`.

    Raises:
        DataError: a file is missing, or a row is broken: file, line and field.
    """
    path = category_file(folder, category)
    compares_calls = "relevance" not in category
    truths = _read_truths(folder / "possible_answer" / path.name) if compares_calls else {}
    seen: set[str] = set()
    for where, row in read_jsonl(path):
        row_id = require(row, "id", str, where)
        if category_of(row_id) != category:
            raise DataError(f"{where}: 'id' {row_id} is not one of the category {category}")
        if row_id in seen:
            raise DataError(f"{where}: 'id' {row_id} occurs twice")
        seen.add(row_id)
        functions = [
            _function(raw, f"{where}: function[{n}]") for n, raw in enumerate(require(row, "function", list, where))
        ]
        language = _language(category)
        if compares_calls:
            if row_id not in truths:
                raise DataError(f"{where}: 'id' {row_id} has no possible answer")
            target = {"expect": "calls", "language": language, "calls": _calls(*truths[row_id], functions, language)}
        else:
            target = {"expect": "no_call" if "irrelevance" in category else "any_call"}
        tools = tuple(_tool(function, language, where) for function in functions)
        yield Sample(
            id=row_id,
            benchmark="bfcl",
            messages=_messages(row, where),
            tools=tools,
            target=target,
            # Whoever calls nothing where no call is expected may have answered, asked or refused.
            behavior=None if target["expect"] == "no_call" else "tool_call",
            group=("category", category),
        )


def expected_calls(target: Mapping[str, Any]) -> list[ExpectedCall]:
    """The calls of a target that expects some."""
    return [
        ExpectedCall(
            call["name"],
            call["required"],
            {
                name: ExpectedArgument(argument["accepted"], argument["type"], argument["items"])
                for name, argument in call["arguments"].items()
            },
        )
        for call in target["calls"]
    ]


def _language(category: Category) -> Language:
    if category == "simple_java":
        return "java"
    return "javascript" if category == "simple_javascript" else "python"


def _offered_name(name: str) -> str:
    return name.replace(".", "_")


def _messages(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    turns = require(row, "question", list, where)
    if len(turns) != 1:
        raise DataError(f"{where}: 'question' has {len(turns)} turns, only rows with one turn are scored")
    if not isinstance(turns[0], list) or not turns[0]:
        raise DataError(f"{where}: 'question' must be a list of turns, each a list of messages")
    messages = []
    for number, message in enumerate(turns[0]):
        place = f"{where}: question[0][{number}]"
        if not isinstance(message, dict):
            raise DataError(f"{place}: a message must be an object, not {type(message).__name__}")
        role = require(message, "role", str, place)
        if role not in ROLES:
            raise DataError(f"{place}: 'role' must be one of {', '.join(ROLES)}, not '{role}'")
        messages.append(Message(role, require(message, "content", str, place)))
    return tuple(messages)


def _function(raw: Any, where: str) -> dict[str, Any]:
    """A function as it was published, with the fields there that are read later."""
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a function must be an object, not {type(raw).__name__}")
    require(raw, "name", str, where)
    properties = require(require(raw, "parameters", dict, where), "properties", dict, f"{where}: parameters")
    for name, schema in properties.items():
        if not isinstance(schema, dict):
            raise DataError(f"{where}: '{name}' must be an object, not {type(schema).__name__}")
    return raw


def _tool(function: Mapping[str, Any], language: Language, where: str) -> Tool:
    parameters = function["parameters"]
    if language != "python":
        properties = {key: _text_schema(schema, language) for key, schema in parameters["properties"].items()}
        parameters = {**parameters, "properties": properties}
    note = f"The function is written in {_LANGUAGE_NAMES[language]}."
    description = f"{function.get('description') or ''} {note}".strip()
    name = _offered_name(function["name"])
    return normalize_tool({**function, "name": name, "description": description, "parameters": parameters}, where)


def _text_schema(schema: Mapping[str, Any], language: Language) -> dict[str, Any]:
    """An argument of a Java or JavaScript function, which the model has to write as source code in a text."""
    name, kind = _LANGUAGE_NAMES[language].split()[0], schema.get("type", "any")
    notes = [
        f"Given as a text: the {name} source code of "
        + ("any object." if kind == "any" else f"a value of type {kind}.")
    ]
    items, entries = schema.get("items"), schema.get("properties")
    if isinstance(items, dict) and "type" in items:
        notes.append(f"Its elements are of type {items['type']}.")
    if isinstance(entries, dict):
        fields = (f"{key} ({value.get('type') or 'any'})" for key, value in entries.items() if isinstance(value, dict))
        notes.append(f"Its entries are {', '.join(fields)}.")
    kept = {key: value for key, value in schema.items() if key not in ("items", "properties", "required")}
    return {**kept, "type": "string", "description": " ".join([schema.get("description", ""), *notes]).strip()}


def _read_truths(path: Path) -> dict[str, tuple[list[Any], str]]:
    """The ground truth and its place by row id."""
    truths = {}
    for where, row in read_jsonl(path):
        truth = require(row, "ground_truth", list, where)
        if not truth:
            raise DataError(f"{where}: 'ground_truth' is empty")
        truths[require(row, "id", str, where)] = (truth, where)
    return truths


def _calls(truth: list[Any], where: str, functions: list[dict[str, Any]], language: Language) -> list[dict[str, Any]]:
    return [_call(one, f"{where}: ground_truth[{number}]", functions, language) for number, one in enumerate(truth)]


def _call(one: Any, where: str, functions: list[dict[str, Any]], language: Language) -> dict[str, Any]:
    if not isinstance(one, dict) or len(one) != 1:
        raise DataError(f"{where}: must be an object with one function's name as its key")
    name, accepted = next(iter(one.items()))
    if not isinstance(accepted, dict):
        raise DataError(f"{where}: the arguments of '{name}' must be an object, not {type(accepted).__name__}")
    parameters = next((function["parameters"] for function in functions if function["name"] == name), None)
    if parameters is None:
        raise DataError(f"{where}: '{name}' is not one of the functions offered")
    return {
        "name": _offered_name(name),
        "required": require(parameters, "required", list, f"{where}: parameters of '{name}'"),
        "arguments": {
            key: _argument(
                require(accepted, key, list, where), parameters["properties"].get(key), f"{where}: '{key}'", language
            )
            for key in accepted
        },
    }


def _argument(accepted: list[Any], schema: Any, where: str, language: Language) -> dict[str, Any]:
    if schema is None:
        return {"accepted": accepted, "type": None, "items": None}
    kinds = KINDS[language]
    kind = _known_type(schema, kinds, where)
    items = _known_type(require(schema, "items", dict, where), kinds, where) if kinds[kind] is list else None
    return {"accepted": accepted, "type": kind, "items": items}


def _known_type(schema: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> str:
    kind = require(schema, "type", str, where)
    if kind not in kinds:
        raise DataError(f"{where}: type '{kind}' is not one that BFCL compares ({', '.join(kinds)})")
    return kind
