"""Rows of spans, observations, runs, and messages for a screen: each asks `q` and is answered by a call of `find`."""

import json
from typing import Any

from rows_of import TOOL, assistant, call, user

FUNCTION = TOOL["function"]
CALLED = {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "find", "arguments": {"what": "x"}}]}
ASKED = {"role": "user", "parts": [{"type": "text", "content": "q"}]}


def span(attributes: dict[str, Any], *events: tuple[str, dict[str, Any]], **beside: Any) -> dict[str, Any]:
    """A span as the SDKs' console exporters write it."""
    return {
        **{"name": "chat", "context": {"trace_id": "0x1a", "span_id": "0x2b"}, "parent_id": None},
        **{"start_time": "2026-11-27T10:00:00Z", "status": {"status_code": "UNSET"}, "attributes": attributes},
        "events": [{"name": name, "attributes": said} for name, said in events],
        **beside,
    }


def value(raw: Any) -> dict[str, Any]:
    """A value as the protocol writes it."""
    if isinstance(raw, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": value(each)} for key, each in raw.items()]}}
    if isinstance(raw, list):
        return {"arrayValue": {"values": [value(each) for each in raw]}}
    return {"boolValue": raw} if isinstance(raw, bool) else {"stringValue": raw}


def protocol(attributes: dict[str, Any]) -> dict[str, Any]:
    """A request of the protocol that holds one span."""
    listed = [{"key": key, "value": value(each)} for key, each in attributes.items()]
    one = {"traceId": "1a", "spanId": "2b", "name": "chat", "startTimeUnixNano": "1", "attributes": listed}
    return {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "s"}, "spans": [one]}]}]}


ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
    "gen_ai.input.messages": json.dumps([ASKED]),
    "gen_ai.output.messages": json.dumps([{**CALLED, "finish_reason": "tool_call"}]),
    "gen_ai.tool.definitions": json.dumps([{"type": "function", **FUNCTION}]),
}
STRUCTURED = {key: json.loads(text) if text[0] == "[" else text for key, text in ATTRIBUTES.items()}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.tool.definitions": ATTRIBUTES["gen_ai.tool.definitions"]}
EVENTS = (
    ("gen_ai.system.message", {"content": "Be brief."}),
    ("gen_ai.user.message", {"content": json.dumps([{"text": "q"}])}),
    ("gen_ai.choice", {"finish_reason": "tool_use", "message": {"tool_calls": [call("x")]}}),
)
TRACELOOP = {
    **{"llm.request.type": "chat", "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief."},
    **{"gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": "q"},
    **{"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.finish_reason": "tool_calls"},
    **{"gen_ai.completion.0.tool_calls.0.id": "c1", "gen_ai.completion.0.tool_calls.0.name": "find"},
    "gen_ai.completion.0.tool_calls.0.arguments": '{"what": "x"}',
    **{"llm.request.functions.0.name": "find", "llm.request.functions.0.description": FUNCTION["description"]},
    "llm.request.functions.0.parameters": json.dumps(FUNCTION["parameters"]),
}
CALL = "llm.output_messages.0.message.tool_calls.0.tool_call"
OPENINFERENCE = {
    **{"openinference.span.kind": "LLM", "llm.input_messages.0.message.role": "system"},
    **{"llm.input_messages.0.message.contents.0.message_content.type": "text"},
    **{"llm.input_messages.0.message.contents.0.message_content.text": "Be brief."},
    **{"llm.input_messages.1.message.role": "user", "llm.input_messages.1.message.content": "q"},
    **{"llm.output_messages.0.message.role": "assistant", f"{CALL}.id": "c1", f"{CALL}.function.name": "find"},
    **{f"{CALL}.function.arguments": '{"what": "x"}', "llm.tools.0.tool.json_schema": json.dumps(TOOL)},
}
VERCEL = {
    "ai.operationId": "ai.generateText.doGenerate",
    "ai.prompt.messages": json.dumps(
        [{"role": "system", "content": "Be brief."}, user([{"type": "text", "text": "q"}])]
    ),
    "ai.prompt.tools": [json.dumps({"type": "function", "name": "find", "inputSchema": FUNCTION["parameters"]})],
    "ai.response.toolCalls": json.dumps([{"toolCallId": "c1", "toolName": "find", "input": '{"what": "x"}'}]),
    "ai.response.finishReason": "tool-calls",
}
REQUEST = {"messages": [{"role": "system", "content": "Be brief."}, user()], "tools": [TOOL]}
ANSWER = assistant(None, tool_calls=[call("x")])
LANGFUSE_SPAN = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.input": json.dumps(REQUEST),
    "langfuse.observation.output": json.dumps(ANSWER),
}
MLFLOW_SPAN = {
    "mlflow.spanType": '"CHAT_MODEL"',
    "mlflow.spanInputs": json.dumps(REQUEST),
    "mlflow.spanOutputs": json.dumps({"choices": [{"message": ANSWER}]}),
}
CLOUDWATCH = {
    **{"traceId": "1a", "spanId": "2b", "name": "chat", "startTimeUnixNano": 1, "kind": "INTERNAL"},
    "attributes": {**CHAT, **{key: ATTRIBUTES[key] for key in ATTRIBUTES if key not in CHAT}},
}
SPANS = {
    "attributes as text": span(ATTRIBUTES),
    "attributes as they are": span(STRUCTURED),
    "events of a span": span(CHAT, *EVENTS),
    "details in an event": span(CHAT, ("gen_ai.client.inference.operation.details", ATTRIBUTES)),
    "the protocol": protocol(ATTRIBUTES),
    "the protocol, structured": protocol(STRUCTURED),
    "the protocol, with the names of its definition": {
        "resource_spans": [{"scope_spans": protocol(ATTRIBUTES)["resourceSpans"][0]["scopeSpans"]}]
    },
    "CloudWatch": CLOUDWATCH,
    "CloudWatch, as text": {"@timestamp": "2026-11-27 10:00:00.000", "@message": json.dumps(CLOUDWATCH)},
    "CloudWatch, subscribed": {
        "messageType": "DATA_MESSAGE",
        "logEvents": [{"id": "1", "message": json.dumps(CLOUDWATCH)}],
    },
    "CloudWatch, filtered": {"events": [{"timestamp": 1, "message": json.dumps(CLOUDWATCH)}], "searchedLogStreams": []},
    "CloudWatch, queried": {
        "results": [[{"field": "@message", "value": json.dumps(CLOUDWATCH)}]],
        "status": "Complete",
    },
    "Traceloop's older words": span(TRACELOOP),
    "OpenInference": span(OPENINFERENCE),
    "Vercel's SDK": span(VERCEL),
    "Langfuse's SDK": span(LANGFUSE_SPAN),
    "MLflow, exported": span(MLFLOW_SPAN),
}
GENERATION = {
    **{"id": "g1", "traceId": "t1", "type": "GENERATION", "name": "g", "startTime": "2026-11-27T10:00:00Z"},
    **{"input": REQUEST, "output": ANSWER},
}
LANGCHAIN = [
    {"lc": 1, "type": "constructor", "id": ["langchain", "SystemMessage"], "kwargs": {"content": "Be brief."}},
    {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"content": "q"}},
]
AI = {"content": "", "tool_calls": [{"id": "c1", "name": "find", "args": {"what": "x"}}]}
RUN = {
    **{"id": "r1", "trace_id": "t1", "run_type": "llm", "name": "ChatOpenAI", "start_time": "2026-11-27T10:00:00"},
    **{"inputs": {"messages": [LANGCHAIN]}, "extra": {"invocation_params": {"tools": [TOOL]}}},
    "outputs": {"generations": [[{"text": "", "message": {"lc": 1, "id": ["AIMessage"], "kwargs": AI}}]]},
}
AGENTS_SPAN = {
    **{"object": "trace.span", "id": "s", "trace_id": "t", "parent_id": "p", "error": None},
    "span_data": {"type": "generation", "input": REQUEST["messages"], "output": [ANSWER], "model": "m"},
}
OBSERVED = {
    "a generation of Langfuse": GENERATION,
    "its columns as text": {**GENERATION, "input": json.dumps(REQUEST), "output": json.dumps(ANSWER)},
    "tools among its messages": {
        **GENERATION,
        "input": [*REQUEST["messages"], {"role": "tool", "content": TOOL}],
    },
    "tools in its metadata": {**GENERATION, "input": REQUEST["messages"], "metadata": {"tools": [TOOL]}},
    "a trace of Langfuse": {"id": "t1", "observations": [{"id": "s", "type": "SPAN", "input": "q"}, GENERATION]},
    "a span of the Agents SDK": AGENTS_SPAN,
    "a run of LangSmith": RUN,
    "a run of the OpenAI client": {
        **{key: RUN[key] for key in ("id", "trace_id", "run_type", "name")},
        **{"inputs": REQUEST, "outputs": {"choices": [{"message": ANSWER, "finish_reason": "tool_calls"}]}},
    },
    "a run with its children": {"id": "c", "run_type": "chain", "trace_id": "t1", "inputs": {}, "child_runs": [RUN]},
}
SCREEN = {
    "system": "Be brief.",
    "messages": [
        {"id": "1", "role": "user", "parts": [{"type": "text", "text": "q"}]},
        {
            **{"id": "2", "role": "assistant"},
            "parts": [
                {"type": "step-start"},
                {
                    "type": "tool-find",
                    "toolCallId": "c1",
                    "state": "output-available",
                    "input": {"what": "x"},
                    "output": 1,
                },
                {"type": "step-start"},
                {"type": "text", "text": "One.", "state": "done"},
            ],
        },
    ],
    "tools": [TOOL],
}
PYDANTIC = {
    "messages": [
        {
            "kind": "request",
            "parts": [
                {"part_kind": "system-prompt", "content": "Be brief."},
                {"part_kind": "user-prompt", "content": "q"},
            ],
        },
        {
            "kind": "response",
            "parts": [
                {"part_kind": "thinking", "content": "Hm."},
                {"part_kind": "tool-call", "tool_name": "find", "tool_call_id": "c1", "args": '{"what": "x"}'},
            ],
            **{"finish_reason": "tool_call", "state": "complete"},
        },
    ],
    "tools": [TOOL],
}
