"""Whatever the source, and in whatever layout a tool was published, what is trained on is the schema as published."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rows_of import assistant, call, read, user

from calltune.calling.edits import changes_told_to
from calltune.calling.schema import call_problems
from calltune.data.rows import training_row
from calltune.data.sources import chat_jsonl, openai_traces, sharegpt, when2call, xlam
from calltune.types import Example, Preference

SCHEMA = {
    "$defs": {"What": {"type": "string", "pattern": "^\\p{L}+$"}},
    "type": "object",
    "properties": {
        "what": {"$ref": "#/$defs/What"},
        "where": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "size": {"type": "integer", "nullable": True, "minimum": 0, "exclusiveMinimum": True},
    },
    "required": ["what"],
}
SAID = {"name": "find", "description": "Find it."}
LAYOUTS: dict[str, Any] = {
    "OpenAI": {"type": "function", "function": {**SAID, "parameters": SCHEMA}},
    "MCP": {**SAID, "inputSchema": SCHEMA},
    "Anthropic": {**SAID, "input_schema": SCHEMA},
    "Bedrock": {"toolSpec": {**SAID, "inputSchema": {"json": SCHEMA}}},
    "Gemini": {"functionDeclarations": [{**SAID, "parametersJsonSchema": SCHEMA}]},
}
CALLED = assistant(None, tool_calls=[call("it")])
CALL_TEXT = {"name": "find", "arguments": {"what": "it"}}


def span(tools: list[Any]) -> dict[str, Any]:
    attributes = {
        "mlflow.spanType": '"CHAT_MODEL"',
        "mlflow.spanInputs": json.dumps({"messages": [user("Find it.")], "tools": tools}),
        "mlflow.spanOutputs": json.dumps({"choices": [{"message": CALLED}]}),
    }
    return {"info": {}, "data": {"spans": [{"name": "chat", "attributes": attributes}]}}


def preferred(tools: list[Any]) -> dict[str, Any]:
    answers = {"preferred_output": [CALLED], "non_preferred_output": [assistant("No.")]}
    return {"input": {"messages": [user("Find it.")], "tools": tools}, **answers}


def hermes(tools: list[Any]) -> dict[str, Any]:
    said = [("system", f"You may call:\n<tools>{json.dumps(tools)}</tools>"), ("human", "Find it.")]
    turns = [*said, ("gpt", f"<tool_call>\n{json.dumps(CALL_TEXT)}\n</tool_call>")]
    return {"conversations": [{"from": who, "value": text} for who, text in turns]}


ROWS: dict[str, tuple[ModuleType, Callable[[list[Any]], Any]]] = {
    "openai_traces": (openai_traces, lambda tools: {"messages": [user("Find it."), CALLED], "tools": tools}),
    "openai_traces, text": (
        openai_traces,
        lambda tools: {"messages": [user("Find it."), CALLED], "tools": json.dumps(tools)},
    ),
    "openai_traces, pair": (openai_traces, preferred),
    "mlflow": (openai_traces, span),
    "sharegpt": (
        sharegpt,
        lambda tools: {
            "conversations": [
                {"from": "human", "value": "Find it."},
                {"from": "function_call", "value": json.dumps(CALL_TEXT)},
            ],
            "tools": json.dumps(tools),
        },
    ),
    "sharegpt, Hermes": (sharegpt, hermes),
    "chat_jsonl": (chat_jsonl, lambda tools: {"prompt": [user("Find it.")], "completion": [CALLED], "tools": tools}),
    "chat_jsonl, pair": (
        chat_jsonl,
        lambda tools: {"prompt": [user()], "chosen": [CALLED], "rejected": [assistant("No.")], "tools": tools},
    ),
    "xlam": (xlam, lambda tools: {"query": "q", "tools": tools, "answers": [CALL_TEXT]}),
    "when2call": (
        when2call,
        lambda tools: {
            "tools": [json.dumps(tool) for tool in tools],
            "messages": [user("Find it."), assistant("Which one?")],
        },
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ROWS)
def test_the_schema_is_trained_as_it_was_published(tmp_path: Path, name: str, layout: str) -> None:
    source, row_of = ROWS[name]
    split = {"split": "train_sft"} if source is when2call else {}
    kinds: list[str] = []
    with changes_told_to(lambda where, what, changes: kinds.extend(change.kind for change in changes)):
        (row,) = read(source, tmp_path / "rows.jsonl", [row_of([LAYOUTS[layout]])], **split)
    assert isinstance(row, (Example, Preference)), row
    (written,) = json.loads(training_row(row)["tools"])
    assert json.dumps(written["function"]["parameters"]) == json.dumps(SCHEMA)
    assert [problem for call in row.answers[0].tool_calls for problem in call_problems(call, row.tools)] == []
    moved = {"schema_moved"} if layout != "OpenAI" else set()
    assert set(kinds) - {"text_dropped", "call_read"} == {"not_judged"} | moved


@pytest.mark.parametrize("name", ROWS)
def test_a_schema_where_none_is_read_rejects_the_row_in_one_line(tmp_path: Path, name: str) -> None:
    source, row_of = ROWS[name]
    split = {"split": "train_sft"} if source is when2call else {}
    (row,) = read(source, tmp_path / "rows.jsonl", [row_of([{**SAID, "signature": SCHEMA}])], **split)
    assert "tool 'find': 'signature' holds a schema, which is read under 'parameters'" in row.reason
    assert len(row.reason.splitlines()) == 1
