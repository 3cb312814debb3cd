"""BFCL's files: rows become samples, and what is broken is told with its place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from not_strict import NAMES, NOT_STRICT

from calltune.config.table import parse_options
from calltune.errors import ConfigError, DataError
from calltune.evaluation.benchmarks import bfcl
from calltune.types import Message, Sample

TOY = Path(__file__).parents[2] / "gold" / "bfcl_toy"
FUNCTION = {
    "name": "clock.wind",
    "description": "Winds a clock.",
    "parameters": {
        "type": "dict",
        "properties": {"turns": {"type": "integer"}, "room": {"type": "any"}, "at": {"type": "float"}},
        "required": ["turns"],
    },
}
ROW = {
    "id": "simple_python_0",
    "question": [[{"role": "user", "content": "Wind it twice."}]],
    "function": [FUNCTION],
}
TRUTH = {"id": "simple_python_0", "ground_truth": [{"clock.wind": {"turns": [2], "room": [""]}}]}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a folder of one category, its rows and answers as objects or as raw text."""

    def write_folder(rows: Any = (ROW,), truths: Any = (TRUTH,), category: str = "simple_python") -> Path:
        (tmp_path / "possible_answer").mkdir(exist_ok=True)
        for folder, lines in ((tmp_path, rows), (tmp_path / "possible_answer", truths)):
            text = lines if isinstance(lines, str | bytes) else "\n".join(json.dumps(line) for line in lines)
            data = text if isinstance(text, bytes) else text.encode()
            (folder / f"BFCL_v4_{category}.json").write_bytes(data)
        return tmp_path

    return write_folder


def read(folder: Path, **options: Any) -> list[Sample]:
    return list(bfcl.samples(parse_options(bfcl.Settings, {"path": str(folder), **options}, "bfcl")))


def test_a_row_becomes_a_sample(write: Write) -> None:
    (sample,) = read(write())
    assert (sample.id, sample.benchmark, sample.choices) == ("simple_python_0", "bfcl", {})
    assert sample.messages == (Message("user", "Wind it twice."),)
    (tool,) = sample.tools
    assert tool.name == "clock_wind"
    assert tool.description == "Winds a clock. The function is written in Python 3."
    assert tool.parameters == {
        "type": "object",
        "properties": {"turns": {"type": "integer"}, "room": {}, "at": {"type": "number"}},
        "required": ["turns"],
    }
    assert sample.target == {
        "expect": "calls",
        "language": "python",
        "calls": [
            {
                "name": "clock_wind",
                "required": ["turns"],
                "arguments": {
                    "turns": {"accepted": [2], "type": "integer", "items": None},
                    "room": {"accepted": [""], "type": "any", "items": None},
                },
            }
        ],
    }


def test_arguments_in_other_languages_are_offered_as_texts() -> None:
    samples = {sample.id: sample for sample in read(TOY)}
    for sample_id, language in (("simple_java_0", "Java 8"), ("simple_javascript_0", "JavaScript")):
        (tool,) = samples[sample_id].tools
        assert tool.description.endswith(f"The function is written in {language}.")
        assert {schema["type"] for schema in tool.parameters["properties"].values()} == {"string"}
        assert not any("items" in schema for schema in tool.parameters["properties"].values())
    assert samples["simple_java_0"].tools[0].parameters["properties"]["codes"]["description"] == (
        "An argument. Given as a text: the Java source code of a value of type Array. Its elements are of type integer."
    )


def test_every_toy_tool_is_json_schema() -> None:
    for sample in read(TOY):
        for tool in sample.tools:
            jsonschema.Draft202012Validator.check_schema(dict(tool.parameters))
            assert "." not in tool.name


def test_categories_and_limit() -> None:
    assert [s.id for s in read(TOY, categories=["parallel", "simple_java"])] == [
        *("parallel_0", "parallel_1", "simple_java_0", "simple_java_1"),
    ]
    assert [s.id for s in read(TOY, categories=["parallel", "simple_java"], limit=1)] == ["parallel_0", "simple_java_0"]


def test_what_is_left_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    read(TOY)
    told = capsys.readouterr().out
    assert "live_simple, live_multiple" in told
    assert "left out" in told


def test_a_named_category_must_be_there() -> None:
    with pytest.raises(DataError, match=r"BFCL_v4_live_simple\.json: no such data file"):
        read(TOY, categories=["live_simple"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categories": ["simple"]}, "categories"),
        ({"categories": []}, "categories"),
        ({"limit": 0}, "limit"),
        ({"max_tokens": 3}, "unknown key 'max_tokens', did you mean 'max_new_tokens'"),
    ],
)
def test_wrong_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(TOY, **options)


def test_no_folder_or_no_rows(tmp_path: Path, write: Write) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / "nothing")
    with pytest.raises(DataError, match="holds no questions"):
        read(tmp_path)
    with pytest.raises(DataError, match="holds no questions"):
        read(write(rows="\n\n"))


def changed(row: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {key: value for key, value in {**row, **fields}.items() if value is not ...}


def function(**parameters: Any) -> list[dict[str, Any]]:
    return [{**FUNCTION, "parameters": changed(FUNCTION["parameters"], **parameters)}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed(ROW, id=...), "'id' is missing"),
        (changed(ROW, id="multiple_0"), "'id' multiple_0 is not one of the category simple_python"),
        (changed(ROW, id="simple_python_9"), "'id' simple_python_9 has no possible answer"),
        (changed(ROW, question=...), "'question' is missing"),
        (changed(ROW, question="Wind it."), "'question' must be list, not str"),
        (changed(ROW, question=ROW["question"] * 2), "'question' has 2 turns, only rows with one turn are scored"),
        (changed(ROW, question=["Wind it."]), "'question' must be a list of turns"),
        (changed(ROW, question=[[{"role": "user"}]]), r"question\[0\]\[0\]: 'content' is missing"),
        (changed(ROW, question=[[{"role": "boss", "content": ""}]]), "'role' must be one of system, user"),
        (changed(ROW, question=[["Wind it."]]), "a message must be an object, not str"),
        (changed(ROW, function=...), "'function' is missing"),
        (changed(ROW, function=["clock"]), r"function\[0\]: a function must be an object, not str"),
        (changed(ROW, function=[{"name": "a"}]), r"function\[0\]: 'parameters' is missing"),
        (changed(ROW, function=function(properties=...)), r"function\[0\]: parameters: 'properties' is missing"),
        (changed(ROW, function=function(properties={"turns": "int"})), "'turns' must be an object, not str"),
        (
            changed(ROW, function=[{**FUNCTION, "name": "a"}]),
            r"ground_truth\[0\]: 'clock.wind' is not one of the functions",
        ),
        (changed(ROW, function=function(required=...)), "parameters of 'clock.wind': 'required' is missing"),
        (changed(ROW, function=function(properties={"turns": {}})), "'turns': 'type' is missing"),
        (changed(ROW, function=function(properties={"turns": {"type": "whole"}})), "'turns': type 'whole' is not one"),
        (changed(ROW, function=function(properties={"turns": {"type": "array"}})), "'turns': 'items' is missing"),
    ],
)
def test_a_broken_row_is_one_line_with_its_place(write: Write, row: dict[str, Any], message: str) -> None:
    folder = write(rows=[row])
    with pytest.raises(DataError, match=message) as caught:
        read(folder)
    assert str(caught.value).startswith(str(folder))
    assert "BFCL_v4_simple_python.json:1: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (changed(TRUTH, ground_truth=...), "'ground_truth' is missing"),
        (changed(TRUTH, ground_truth=[]), "'ground_truth' is empty"),
        (changed(TRUTH, ground_truth=["clock.wind"]), r"ground_truth\[0\]: must be an object with one function's name"),
        (changed(TRUTH, ground_truth=[{"clock.wind": 2}]), "arguments of 'clock.wind' must be an object, not int"),
        (
            changed(TRUTH, ground_truth=[{"clock.wind": {"turns": 2}}]),
            r"ground_truth\[0\]: 'turns' must be list, not int",
        ),
    ],
)
def test_a_broken_answer_is_one_line_with_its_place(write: Write, truth: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"possible_answer/BFCL_v4_simple_python\.json:1: .*" + message):
        read(write(truths=[truth]))


@pytest.mark.parametrize(("text", "message"), NOT_STRICT, ids=NAMES)
def test_questions_and_answers_are_read_strictly(write: Write, text: str, message: str) -> None:
    asked, answer = (
        json.dumps(row).replace(*old, 1) for row, old in ((ROW, ('"Wind it twice."', text)), (TRUTH, ("2", text)))
    )
    for rows, truths, place in ((asked, [TRUTH], ""), ([ROW], answer, "possible_answer/")):
        folder = write(rows, truths)
        with pytest.raises(DataError) as caught:
            read(folder)
        assert str(caught.value).startswith(f"{folder}/{place}BFCL_v4_simple_python.json:1: {message}")
        assert "\n" not in str(caught.value)


def test_broken_files(write: Write) -> None:
    with pytest.raises(DataError, match=r"simple_python\.json:2: 'id' simple_python_0 occurs twice"):
        read(write(rows=[ROW, ROW]))
    with pytest.raises(DataError, match=r"simple_python\.json:1: not valid JSON"):
        read(write(rows=json.dumps(ROW)[:-9]))
    with pytest.raises(DataError, match=r"simple_python\.json:1: not UTF-8"):
        read(write(rows=json.dumps(ROW).replace("twice", "zweimal täglich").encode("latin-1")))
    folder = write()
    (folder / "possible_answer" / "BFCL_v4_simple_python.json").unlink()
    with pytest.raises(DataError, match=r"possible_answer/BFCL_v4_simple_python\.json: no such data file"):
        read(folder)
