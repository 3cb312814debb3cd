"""Rows of each layout that a source reads, with the source and its settings."""

import json
from types import ModuleType
from typing import Any

from logged import PARALLEL
from rows_of import TOOL, assistant, call, result, user
from telemetry_rows import OBSERVED, PYDANTIC, SCREEN, SPANS

from calltune.data.sources import auto, chat_jsonl, openai_traces, sharegpt, when2call, xlam

CALL = {"name": "find", "arguments": {"what": "it"}}
CHAT = {"messages": [user("Find it."), assistant(None, tool_calls=[call("it")]), result("r"), assistant("Here.")]}
PAIR = {"chosen": [user(), assistant("yes")], "rejected": [user(), assistant("no")], "tools": [TOOL]}
WHEN2CALL = {
    "tools": [TOOL["function"]],
    "messages": [user(), assistant(f"<TOOLCALL>[{json.dumps(CALL)}]</TOOLCALL>")],
}
SPAN = {
    "mlflow.spanType": '"CHAT_MODEL"',
    "mlflow.spanInputs": json.dumps({"messages": [user()], "tools": [TOOL]}),
    "mlflow.spanOutputs": json.dumps({"choices": [{"message": assistant()}]}),
}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": f"<tool_call>{json.dumps(CALL)}</tool_call>"},
        {"from": "observation", "value": "r"},
        {"from": "function_call", "value": json.dumps(CALL)},
    ],
    "tools": json.dumps([TOOL]),
}
GLAIVE = {
    "system": f"Functions: {json.dumps(TOOL['function'])}",
    "chat": 'USER: q\n\nASSISTANT: <functioncall> {"name": "find", "arguments": \'{"what": "it"}\'} <|endoftext|>',
}
PREFERENCE = {
    "input": {"messages": [user()], "tools": [TOOL]},
    "preferred_output": [assistant("a")],
    "non_preferred_output": [assistant("b")],
}
LOGGED = [{**row, "tools": [TOOL]} for row in PARALLEL.values()]
REQUESTS = {
    "request": {"messages": [user()], "system": "s", "tools": [TOOL]},
    "response": {"choices": [{"message": assistant(), "finish_reason": "stop"}]},
}
STREAMED = {
    "messages": [user()],
    "response": [
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": CALL | {"arguments": ""}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"what": "x"}'}}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    ],
}
BODIES = {
    "input": {"inputBodyJson": {"messages": [user([{"text": "q"}])], "toolConfig": {"tools": []}}},
    "output": {"outputBodyJson": {"output": {"message": assistant([{"text": "a"}])}, "stopReason": "end_turn"}},
}
FILES: list[tuple[ModuleType, list[dict[str, Any]], dict[str, Any]]] = [
    (when2call, [WHEN2CALL] * 3, {"split": "train_sft"}),
    (openai_traces, [{**CHAT, "tools": [TOOL]}, {"data": {"spans": [{"attributes": SPAN}]}}, PREFERENCE], {}),
    (xlam, [{"query": "q", "tools": json.dumps([TOOL]), "answers": json.dumps([CALL])}] * 3, {}),
    (sharegpt, [SHAREGPT, GLAIVE, SHAREGPT], {}),
    (chat_jsonl, [CHAT, PAIR, {"prompt": [user()], "completion": [assistant()]}], {}),
    (openai_traces, LOGGED[:4], {}),
    (chat_jsonl, LOGGED[4:], {}),
    (auto, [SHAREGPT, GLAIVE, SHAREGPT], {}),
    (openai_traces, list(SPANS.values()), {}),
    (auto, list(SPANS.values()), {}),
    (openai_traces, list(OBSERVED.values()), {}),
    (openai_traces, [SCREEN, PYDANTIC], {}),
    (openai_traces, [REQUESTS, STREAMED, {"schemaType": "ModelInvocationLog", **BODIES}], {}),
]
