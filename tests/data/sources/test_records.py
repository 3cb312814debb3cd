"""Requests and answers as they are logged: in one object or in two, streamed or whole, and what is named instead."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from logged import X, converse, text_of, use
from rows_of import TOOL, assistant, call, read_one, user

from calltune.calling.edits import changes_told_to
from calltune.data.sources import chat_jsonl, openai_traces, sharegpt
from calltune.types import Message, Preference, Rejected, ToolCall

CALLED = assistant(None, tool_calls=[call("x")])
REQUEST = {"messages": [user()], "tools": [TOOL]}
CHUNKS = [
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
    for delta, end in (
        (
            {
                "role": "assistant",
                "tool_calls": [{"index": 0, "id": "1", "function": {"name": "find", "arguments": ""}}],
            },
            None,
        ),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '{"what":'}}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": ' "x"}'}}]}, None),
        ({}, "tool_calls"),
    )
]
ANTHROPIC = [
    {"type": "message_start", "message": {"role": "assistant", "content": []}},
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "1", "name": "find", "input": {}},
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"what":'}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ' "x"}'}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    {"type": "message_stop"},
]
CONVERSE = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "1", "name": "find"}}, "contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"what": "x"}'}}, "contentBlockIndex": 0}},
    {"contentBlockStop": {"contentBlockIndex": 0}},
    {"messageStop": {"stopReason": "tool_use"}},
]
RESPONSE = {"object": "response", "output": [{"type": "function_call", "call_id": "1", **json.loads(text_of(X))}]}
SPEC = {"name": "find", "description": "Find it.", "inputSchema": {"json": TOOL["function"]["parameters"]}}
ANSWERS = {
    "choices": {"choices": [{"index": 0, "message": CALLED, "finish_reason": "tool_calls"}]},
    "a message": CALLED,
    "a list of one": [CALLED],
    "as text": json.dumps({"choices": [{"message": CALLED}]}),
    "http": {"status_code": 200, "body": {"choices": [{"message": CALLED}]}},
    "anthropic": {"type": "message", "role": "assistant", "content": [use(X, "1")], "stop_reason": "tool_use"},
    "bedrock": {"output": {"message": {"role": "assistant", "content": [converse(X, "1")]}}, "stopReason": "tool_use"},
    "responses": RESPONSE,
    "langchain": {"generations": [[{"text": "", "message": {"kwargs": CALLED, "lc": 1, "id": ["AIMessage"]}}]]},
    "all messages": {"messages": [user(), CALLED]},
    "openai's stream": CHUNKS,
    "anthropic's stream": ANTHROPIC,
    "bedrock's stream": CONVERSE,
    "responses' stream": [{"type": "response.created"}, {"type": "response.completed", "response": RESPONSE}],
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_beside_its_request_is_taken(tmp_path: Path, answer: str) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {**REQUEST, "response": ANSWERS[answer]},
        {"request": REQUEST, "response": ANSWERS[answer]},
        {"input": REQUEST, "output": ANSWERS[answer]},
        {"input": REQUEST["messages"], "tools": [TOOL], "output": ANSWERS[answer]},
        {"body": REQUEST, "response": {"body": ANSWERS[answer]}},
        {"model_parameters": {"tools": [TOOL]}, "messages": [user()], "response": ANSWERS[answer]},
    ]
    for row in rows:
        one = read_one(openai_traces, file, row)
        assert one.messages == (Message("user", "q"), Message("assistant", "", (X,))), row
        assert [tool.name for tool in one.tools] == ["find"]


def test_a_bedrock_log_in_folders_of_gzip(tmp_path: Path) -> None:
    record = {
        "schemaType": "ModelInvocationLog",
        "operation": "Converse",
        "input": {
            "inputBodyJson": {
                "messages": [user([{"text": "q"}])],
                "toolConfig": {
                    "tools": [
                        {
                            "toolSpec": {
                                "name": "find",
                                "description": "Find it.",
                                "inputSchema": {"json": TOOL["function"]["parameters"]},
                            }
                        }
                    ]
                },
            }
        },
        "output": {"outputBodyJson": ANSWERS["bedrock"]},
    }
    streamed = record | {"output": {"outputBodyJson": CONVERSE}}
    elsewhere = record | {"output": {"outputBodyS3Path": "s3://bucket/key.json.gz"}}
    folder = tmp_path / "AWSLogs" / "1" / "BedrockModelInvocationLogs" / "2026"
    folder.mkdir(parents=True)
    lines = "\n".join(map(json.dumps, (record, streamed, elsewhere)))
    (folder / "log.json.gz").write_bytes(gzip.compress(lines.encode()))
    first, second, rejected = openai_traces.read(openai_traces.Settings(path=str(tmp_path)))
    assert first.messages == second.messages == (Message("user", "q"), Message("assistant", "", (X,)))
    assert first.tools[0].name == "find"
    assert "its body stands in a file of its own, 's3://bucket/key.json.gz'" in rejected.reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**REQUEST, "response": {"choices": [{"message": CALLED}] * 2}}, "'choices' must hold one answer, not 2"),
        ({**REQUEST, "response": {"error": {"message": "no"}}}, "response: it is an error: {'message': 'no'}"),
        ({**REQUEST, "response": {"usage": 3}}, "response: it holds no answer that is known: its keys are 'usage'"),
        ({**REQUEST, "response": CHUNKS[:-1]}, "the stream breaks off before its answer ends"),
        ({**REQUEST, "response": ANTHROPIC[:3]}, "the stream breaks off before its answer ends"),
        ({"messages": [user(), assistant("a")], "response": assistant("b")}, "and another one stands beside them"),
        ({"input": "q", "output": [assistant()], "previous_response_id": "r1"}, "it goes on from 'r1', whose messages"),
        (
            {"input": [user(), {"type": "web_search_call"}], "output": [assistant()]},
            "an item of type 'web_search_call'",
        ),
        ({"conversations": []}, "'messages' is missing; this is ShareGPT's layout: read it with name = \"sharegpt\""),
        ({"instruction": "i", "output": "o"}, "this is Alpaca's layout"),
        ({"resourceSpans": []}, "it holds no span"),
        ({"run_type": "llm", "inputs": {}}, "span '': 'messages' is missing"),
        ({"message_id": 0, "message": user()}, "this is a message of a session of Strands: name the folder"),
        (
            {"messages": [user(), assistant(None, invalid_tool_calls=[{"name": "f"}])]},
            "'invalid_tool_calls' holds a call",
        ),
    ],
)
def test_what_holds_no_answer_is_named(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    rejected = read_one(openai_traces, tmp_path / "rows.jsonl", row)
    assert isinstance(rejected, Rejected)
    assert reason in rejected.reason


def test_an_answer_that_stands_twice_is_one(tmp_path: Path) -> None:
    one = read_one(openai_traces, tmp_path / "rows.jsonl", {"messages": [user(), assistant()], "response": assistant()})
    assert len(one.messages) == 2


SHAREGPT_PAIR = {
    "conversations": [{"from": "human", "value": "q"}],
    "chosen": {"from": "function_call", "value": text_of(X)},
    "rejected": {"from": "gpt", "value": "No."},
}


def test_pairs_in_every_layout(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows: list[tuple[Any, dict[str, Any]]] = [(sharegpt, SHAREGPT_PAIR)]
    for source in (chat_jsonl, openai_traces):
        for key in ("messages", "prompt"):
            for chosen, worse in ((CALLED, assistant("No.")), ([CALLED], [assistant("No.")])):
                rows.append((source, {key: [user()], "chosen": chosen, "rejected": worse, "tools": [TOOL]}))
    for source, row in rows:
        pair = read_one(source, file, row)
        assert isinstance(pair, Preference)
        assert (pair.prompt, pair.chosen.tool_calls, pair.rejected.content) == ((Message("user", "q"),), (X,), "No.")
    odd = {"messages": [user()], "chosen": CALLED, "rejected": assistant("Action: f\nAction Input: {}")}
    assert read_one(chat_jsonl, file, odd).rejected.content.startswith("Action")
    rejected = read_one(chat_jsonl, file, {**odd, "chosen": odd["rejected"], "rejected": CALLED})
    assert rejected.reason.endswith("(the text holds a call that was not parsed)")


def test_columns_of_json_text(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows: list[tuple[Any, dict[str, Any]]] = [
        (chat_jsonl, {"messages": [user(), CALLED]}),
        (chat_jsonl, {"prompt": [user()], "completion": [CALLED]}),
        (openai_traces, {"messages": [user(), CALLED]}),
        (openai_traces, {"request": REQUEST, "response": CALLED}),
        (sharegpt, {"conversations": [{"from": "human", "value": "q"}, SHAREGPT_PAIR["chosen"]]}),
    ]
    for source, row in rows:
        texts = {key: json.dumps(value) for key, value in row.items()}
        assert read_one(source, file, {**texts, "tools": json.dumps([TOOL])}).messages[-1].tool_calls == (X,)
    rejected = read_one(chat_jsonl, file, {"messages": "[{"})
    assert "messages: not valid JSON" in rejected.reason


TOOLACE = (
    "You are an expert in composing functions.\nHere is a list of functions in JSON format that you can invoke:\n"
    '[{"name": "Find It", "description": "d", "parameters": {"type": "dict", "properties": {"w": {"type": "string"}}}}'
    "]."
    " \nShould you decide to return the function call(s). \nPut it in the format of [func1(a=b), func2(c)]\n\n"
    "NO other text MUST be included. \nToday is Monday."
)
HERMES = f"You may call functions within <tools> tags.\n<tools>\n{json.dumps(TOOL)}\n</tools>\nUse <tool_call>.\n"


def test_tools_in_the_text_are_the_row_s_in_every_source(tmp_path: Path) -> None:
    file, said = tmp_path / "rows.jsonl", '[Find It(w="x"), Find It(w="y")]'
    messages = [{"role": "system", "content": TOOLACE}, user(), assistant(said)]
    rows: list[tuple[Any, dict[str, Any]]] = [
        (openai_traces, {"messages": messages}),
        (chat_jsonl, {"messages": messages[1:], "system": TOOLACE}),
        (
            sharegpt,
            {"system": TOOLACE, "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": said}]},
        ),
    ]
    for source, row in rows:
        one = read_one(source, file, row)
        assert one.messages[0].content == "You are an expert in composing functions.\nToday is Monday."
        assert one.messages[-1].tool_calls == tuple(ToolCall("Find It", {"w": w}) for w in "xy")
        assert list(one.tools[0].parameters["properties"]) == ["w"]
    one = read_one(openai_traces, file, {"messages": [user(f"{HERMES}Find it."), assistant("Which?")]})
    assert one.messages[0] == Message("user", "Find it.")
    assert [tool.name for tool in one.tools] == ["find"]


def test_keys_that_hold_text_or_a_schema_and_are_not_read_are_told(tmp_path: Path) -> None:
    row = {
        "messages": [user(), {**assistant(), "hidden": "some words"}],
        "id": "a-b",
        "rating": 5,
        "note": "to be kept",
    }
    row |= {"schemas": [TOOL], "created": "2026-11-27", "tags": ["a b"]}
    told: list[str] = []
    with changes_told_to(lambda where, what, changes: told.extend(c.path for c in changes if c.kind == "key_unread")):
        read_one(openai_traces, tmp_path / "rows.jsonl", row)
    assert sorted(told) == ["/messages/*/hidden", "/note", "/schemas"]
