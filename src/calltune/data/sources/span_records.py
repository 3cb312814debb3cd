"""What a span of OpenTelemetry records of a question to a model, as a request and its answer.

| convention                           | where it stands                                                         |
|--------------------------------------|-------------------------------------------------------------------------|
| OpenTelemetry's GenAI, since 1.37     | `gen_ai.input.messages`, `gen_ai.output.messages`, as text or structured |
| OpenTelemetry's GenAI, before         | events `gen_ai.user.message`, `gen_ai.choice`, on the span or as logs    |
| AWS's distribution (AgentCore)        | a log record whose body holds `input` and `output`, see `agentcore`      |
| Traceloop, before                     | `gen_ai.prompt.0.role`, `gen_ai.completion.0.content`                    |
| OpenInference                         | `llm.input_messages.0.message.role`, `llm.tools.0.tool.json_schema`      |
| Vercel's SDK                          | `ai.prompt.messages`, `ai.response.toolCalls`                            |
| Langfuse's SDK, MLflow                | `langfuse.observation.input`, `mlflow.spanInputs`                        |
"""

from collections.abc import Mapping
from typing import Any

from calltune.calling.strict_json import parse_value
from calltune.data.sources.agentcore import is_body as is_aws_body
from calltune.data.sources.span_events import CHOICE, events_record, named
from calltune.data.sources.spans import Span
from calltune.errors import DataError

_ASKING = ("chat", "text_completion", "generate_content", "completion", "responses")
_DETAILS = "gen_ai.client.inference.operation.details"
_KINDS = {
    "openinference.span.kind": ("LLM",),
    "mlflow.spanType": ("CHAT_MODEL", '"CHAT_MODEL"'),
    "langfuse.observation.type": ("generation",),
    "llm.request.type": ("chat",),
    "gen_ai.operation.name": _ASKING,
}


def is_model(span: Span) -> bool:
    """Return whether a span is a question to a model. One of an agent or a chain only repeats what those in it say."""
    if span.is_model is not None:
        return span.is_model
    said = _said(span)
    operation = said.get("ai.operationId", said.get("operation.name"))
    if isinstance(operation, str) and operation.startswith("ai."):
        return operation.split()[0].endswith((".doGenerate", ".doStream"))
    for key, values in _KINDS.items():
        if key in said:
            return said[key] in values
    names = {name for name, _ in span.events}
    return CHOICE in names or any(key in said for key in ("gen_ai.output.messages", "gen_ai.completion.0.role"))


def is_body(span: Span) -> bool:
    """Return whether only AWS's log record of a span is there, which does not say if a model or an agent speaks."""
    return span.is_log and any(is_aws_body(said) for _, said in span.events)


def offered_by(span: Span) -> Any:
    """Return the tools that a span names, in any layout, or None."""
    said = _said(span)
    for key in ("gen_ai.tool.definitions", "mlflow.chat.tools", "ai.prompt.tools", "gen_ai.request.tools"):
        if said.get(key):
            return _json(said[key], key)
    for prefix, key in (("llm.tools", "tool"), ("llm.request.functions", ""), ("gen_ai.request.functions", "")):
        if listed := _listed(said, prefix):
            return [_schema(each.get(key, {}) if key else each) for each in listed]
    return None


def _schema(tool: Any) -> Any:
    return tool.get("json_schema", tool) if isinstance(tool, dict) else tool


def _said(span: Span) -> dict[str, Any]:
    """Return the attributes of a span, and of the events that hold what newer conventions put there."""
    said = dict(span.attributes)
    for name, event in span.events:
        if name == _DETAILS and isinstance(event, dict):
            said |= event
    return said


def record_of(span: Span) -> dict[str, Any] | None:
    """Return the request and the answer of a span, in the words of `records`; None where none was recorded.

    Raises:
        DataError: what was recorded cannot be read.
    """
    if span.record is not None:
        return span.record
    said = _said(span)
    for reader in (_messages, _vercel, _langfuse, _mlflow, _openinference, _flat):
        if record := reader(said):
            return record
    return events_record(span.events)


def _messages(said: Mapping[str, Any]) -> dict[str, Any] | None:
    if not said.get("gen_ai.input.messages"):
        return None
    answers = _json(said.get("gen_ai.output.messages"), "gen_ai.output.messages") or []
    if not isinstance(answers, list):
        raise DataError(f"'gen_ai.output.messages' must be a list, not {type(answers).__name__}")
    if len(answers) > 1:
        raise DataError(f"'gen_ai.output.messages' must hold one answer, not {len(answers)}")
    return {
        "messages": _results_read(_json(said["gen_ai.input.messages"], "gen_ai.input.messages"), said),
        "system": _json(said.get("gen_ai.system_instructions"), "gen_ai.system_instructions"),
        "response": named(answers[0], "assistant") if answers else None,
    }


def _results_read(messages: Any, said: Mapping[str, Any]) -> Any:
    """Return messages in which Gemini's results, which are objects, are marked as hers."""
    maker = said.get("gen_ai.provider.name", said.get("gen_ai.system"))
    if not isinstance(maker, str) or not maker.startswith(("gemini", "gcp.", "vertex")):
        return messages
    return [_of_gemini(message) for message in messages] if isinstance(messages, list) else messages


def _of_gemini(message: Any) -> Any:
    parts = message.get("parts") if isinstance(message, dict) else None
    return {**message, "parts": [_gemini_part(part) for part in parts]} if isinstance(parts, list) else message


def _gemini_part(part: Any) -> Any:
    response = part.get("response") if isinstance(part, dict) else None
    if not isinstance(response, dict) or part.get("type") != "tool_call_response":
        return part
    return {"functionResponse": {"id": part.get("id"), "response": response}}


def _vercel(said: Mapping[str, Any]) -> dict[str, Any] | None:
    if not said.get("ai.prompt.messages"):
        return None
    calls = _json(said.get("ai.response.toolCalls"), "ai.response.toolCalls") or []
    if not isinstance(calls, list):
        raise DataError(f"'ai.response.toolCalls' must be a list, not {type(calls).__name__}")
    parts = [{"type": "tool-call", **call} if isinstance(call, dict) else call for call in calls]
    text = said.get("ai.response.text")
    content = [*([{"type": "text", "text": text}] if text else []), *parts]
    response = {"role": "assistant", "content": content, "finish_reason": said.get("ai.response.finishReason")}
    messages = _json(said["ai.prompt.messages"], "ai.prompt.messages")
    return {"messages": messages, "response": response if content else None}


def _langfuse(said: Mapping[str, Any]) -> dict[str, Any] | None:
    key = "langfuse.observation.input"
    if not said.get(key):
        return None
    request = _json(said[key], key)
    output = said.get("langfuse.observation.output")
    request = request if isinstance(request, dict) else {"messages": request}
    return {"request": request, "response": _json(output, "langfuse.observation.output", is_lenient=True)}


def _mlflow(said: Mapping[str, Any]) -> dict[str, Any] | None:
    if not said.get("mlflow.spanInputs"):
        return None
    request, response = (_json(said.get(key), key) for key in ("mlflow.spanInputs", "mlflow.spanOutputs"))
    return {"request": request, "response": response}


def _openinference(said: Mapping[str, Any]) -> dict[str, Any] | None:
    asked = [each.get("message") for each in _listed(said, "llm.input_messages")]
    answers = [each.get("message") for each in _listed(said, "llm.output_messages")]
    if not asked:
        return None
    if len(answers) > 1:
        # The items of the Responses API are one answer; several answers of chat completions are none.
        whole = _json(said.get("output.value"), "output.value", is_lenient=True)
        if not isinstance(whole, dict) or not isinstance(whole.get("output"), list):
            raise DataError(f"'llm.output_messages' must hold one answer, not {len(answers)}")
        return {"messages": [_inferred(message) for message in asked], "response": whole}
    answer = _inferred(answers[0]) if answers else None
    if isinstance(answer, dict) and said.get("llm.finish_reason"):
        answer = {**answer, "finish_reason": said["llm.finish_reason"]}
    return {"messages": [_inferred(message) for message in asked], "response": answer}


def _inferred(message: Any) -> Any:
    """Return one of OpenInference's messages without the words that stand around its parts and calls."""
    if not isinstance(message, dict):
        return message
    kept = {key: value for key, value in message.items() if key not in ("contents", "tool_calls")}
    parts = [part.get("message_content", part) for part in _dicts(message.get("contents"))]
    calls = [call.get("tool_call", call) for call in _dicts(message.get("tool_calls"))]
    for call in calls:
        # Empty arguments are left out.
        if isinstance(call, dict) and isinstance(call.get("function"), dict):
            call["function"].setdefault("arguments", "{}")
    kept |= {"content": kept.get("content", parts or None)}
    return kept | ({"tool_calls": calls} if calls else {})


def _dicts(raw: Any) -> list[dict[str, Any]]:
    return [each for each in raw if isinstance(each, dict)] if isinstance(raw, list) else []


def _flat(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what Traceloop's older releases write in an attribute for each value."""
    asked, answers = _listed(said, "gen_ai.prompt"), _listed(said, "gen_ai.completion")
    if not asked:
        return None
    if len(answers) > 1:
        raise DataError(f"'gen_ai.completion' must hold one answer, not {len(answers)}")
    return {
        "messages": [{"content": None, **message} for message in asked],
        "response": named({"content": None, **answers[0]}, "assistant") if answers else None,
    }


def _listed(said: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Return the objects whose values stand in attributes of their own: `prefix.0.key.1.key`."""
    tree = dict[str, Any]()
    for key, value in said.items():
        if not key.startswith(f"{prefix}."):
            continue
        *parents, last = key[len(prefix) + 1 :].split(".")
        place = tree
        for part in parents:
            inner = place.setdefault(part, {})
            place = inner if isinstance(inner, dict) else {}
        place[last] = value
    listed = _unnumbered(tree)
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _unnumbered(tree: Any) -> Any:
    """Return a tree in which objects with numbers for keys are lists."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(key.isdecimal() for key in tree):
        return [_unnumbered(tree[key]) for key in sorted(tree, key=int)]
    return {key: _unnumbered(value) for key, value in tree.items()}


def _json(value: Any, where: str, *, is_lenient: bool = False) -> Any:
    if not isinstance(value, str) or (is_lenient and not value.lstrip().startswith(("{", "["))):
        return value
    return parse_value(value, where)
