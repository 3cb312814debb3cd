"""One conversation as the logs of many makers hold it: a question, a text with two calls, their results, an answer."""

import json
from typing import Any

from rows_of import assistant, call, result, user

from calltune.types import ToolCall

X, Y = ToolCall("find", {"what": "x"}), ToolCall("find", {"what": "y"})


def text_of(made: ToolCall) -> str:
    return json.dumps({"name": made.name, "arguments": dict(made.arguments)})


def use(made: ToolCall, id: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": made.name, "input": dict(made.arguments)}


def converse(made: ToolCall, id: str) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": id, "name": made.name, "input": dict(made.arguments)}}


PARALLEL = {
    "openai": {
        "messages": [
            user(),
            assistant("Wait."),
            assistant(None, tool_calls=[call("x", "1")]),
            assistant(None, tool_calls=[call("y", "2")]),
            result("no y", "2"),
            result("no x", "1"),
            assistant("None."),
        ]
    },
    "anthropic": {
        "messages": [user(), assistant([{"type": "text", "text": "Wait."}, use(X, "1")]), assistant([use(Y, "2")])]
        + [
            user([{"type": "tool_result", "tool_use_id": i, "content": [{"type": "text", "text": f"no {w}"}]}])
            for i, w in (("2", "y"), ("1", "x"))
        ]
        + [assistant([{"type": "text", "text": "None."}])]
    },
    "bedrock": {
        "messages": [
            user([{"text": "q"}]),
            assistant([{"text": "Wait."}, converse(X, "1"), converse(Y, "2")]),
            user(
                [
                    {"toolResult": {"toolUseId": i, "content": [{"text": f"no {w}"}]}}
                    for i, w in (("2", "y"), ("1", "x"))
                ]
            ),
            assistant([{"text": "None."}]),
        ]
    },
    "responses": {
        "input": [user(), {"type": "message", **assistant([{"type": "output_text", "text": "Wait."}])}]
        + [
            {"type": "function_call", "call_id": i, "name": "find", "arguments": json.dumps({"what": w})}
            for i, w in (("1", "x"), ("2", "y"))
        ]
        + [{"type": "function_call_output", "call_id": i, "output": f"no {w}"} for i, w in (("2", "y"), ("1", "x"))],
        "output": [{"type": "message", **assistant([{"type": "output_text", "text": "None."}])}],
    },
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "q"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "Wait."},
                    *({"functionCall": {"name": "find", "args": dict(c.arguments)}} for c in (X, Y)),
                ],
            },
            {"role": "user", "parts": [{"functionResponse": {"name": "find", "response": f"no {w}"}} for w in "xy"]},
        ],
        "candidates": [{"content": {"parts": [{"text": "None."}]}, "finishReason": "STOP"}],
    },
    "langchain": {
        "messages": [
            {"type": "human", "data": {"content": "q"}},
            {"type": "ai", "content": "Wait.", "tool_calls": [{"name": "find", "args": {"what": "x"}, "id": "1"}]},
            {
                "lc": 1,
                "id": ["langchain", "AIMessage"],
                "kwargs": {"content": "", "tool_calls": [{"name": "find", "args": {"what": "y"}, "id": "2"}]},
            },
            {"type": "tool", "content": "no y", "tool_call_id": "2"},
            {"type": "tool", "content": "no x", "tool_call_id": "1"},
            {"type": "ai", "content": "None."},
        ]
    },
    "swift": {
        "messages": [user(), assistant("Wait."), *({"role": "tool_call", "content": text_of(c)} for c in (X, Y))]
        + [{"role": "tool_response", "content": f"no {w}"} for w in "xy"]
        + [assistant("None.")]
    },
    "vercel": {
        "messages": [
            user([{"type": "text", "text": "q"}]),
            assistant(
                [
                    {"type": "text", "text": "Wait."},
                    *(
                        {"type": "tool-call", "toolCallId": i, "toolName": "find", "input": dict(c.arguments)}
                        for i, c in (("1", X), ("2", Y))
                    ),
                ]
            ),
            {
                "role": "tool",
                "content": [
                    {
                        "type": "tool-result",
                        "toolCallId": i,
                        "toolName": "find",
                        "output": {"type": "text", "value": f"no {w}"},
                    }
                    for i, w in (("2", "y"), ("1", "x"))
                ],
            },
            assistant([{"type": "text", "text": "None."}]),
        ]
    },
}
