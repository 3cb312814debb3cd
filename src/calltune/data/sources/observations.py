"""Observations of Langfuse, runs of LangSmith, spans of OpenAI's Agents SDK: what each asked a model, and the answer.

A row is one observation, run or span, or a trace that holds them (`observations`, `child_runs`). Langfuse's and the
Agents SDK's generations, and LangSmith's runs of type `llm`, hold a request and its answer; chains, agents and tools
only repeat it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from calltune.calling.strict_json import parse_value, shortened
from calltune.data.sources.spans import Span
from calltune.errors import DataError

_TEXTS = ("input", "output", "inputs", "outputs", "extra", "metadata", "modelParameters", "model_parameters")
_LANGFUSE = ("startTime", "start_time", "modelParameters", "model_parameters", "parentObservationId", "statusMessage")
_TYPES = (
    *("GENERATION", "SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "EMBEDDING", "GUARDRAIL"),
)
_MAX_DEPTH = 50


def is_observation(row: Mapping[str, Any]) -> bool:
    """Return whether a row is an observation of Langfuse, or a trace of them."""
    if isinstance(row.get("observations"), list):
        return True
    is_traced = row.get("traceId") is not None or row.get("trace_id") is not None
    if not is_traced or "run_type" in row or "input" not in row:
        return False
    kind = row.get("type")
    return kind.upper() in _TYPES if isinstance(kind, str) else any(key in row for key in _LANGFUSE)


def is_run(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a run of LangSmith."""
    return isinstance(row.get("run_type"), str) and row.get("inputs") is not None


def is_agents_span(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a span of OpenAI's Agents SDK, as its processors export them."""
    return row.get("object") == "trace.span" and isinstance(row.get("span_data"), dict)


def observed(row: Mapping[str, Any], where: str) -> list[Span]:
    """Return the observations or runs of a row, as spans with their request and answer.

    Raises:
        DataError: a list of them is none; the message begins with `where`.
    """
    if is_agents_span(row):
        return [_agents_span(row, where)]
    if isinstance(row.get("observations"), list):
        named = str(row.get("id") or "")
        return [_observation(raw, where, named) for raw in _objects(row["observations"], f"{where}: observations")]
    return [_run(raw, where) for raw in _runs(row, where, 0)] if is_run(row) else [_observation(row, where, "")]


def _objects(value: Any, where: str) -> Iterator[dict[str, Any]]:
    for number, each in enumerate(value if isinstance(value, list) else []):
        if not isinstance(each, dict):
            raise DataError(f"{where}[{number}] must be an object, not {type(each).__name__}")
        yield each


def _runs(row: Mapping[str, Any], where: str, depth: int) -> Iterator[Mapping[str, Any]]:
    yield row
    if depth < _MAX_DEPTH:
        for child in _objects(row.get("child_runs"), f"{where}: child_runs"):
            yield from _runs(child, where, depth + 1)


def _read(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose columns of JSON text have been read, as exports to tables have them."""
    row = dict(raw)
    for key in _TEXTS:
        text = row.get(key)
        if isinstance(text, str) and text.lstrip().startswith(("{", "[")):
            try:
                row[key] = parse_value(text, key)
            except DataError:
                continue
    return row


def _observation(raw: Mapping[str, Any], where: str, trace: str) -> Span:
    row = _read(raw)
    span = Span(
        *(where, raw, str(row.get("name") or row.get("id") or "")),
        *(str(row.get("traceId") or row.get("trace_id") or trace), str(row.get("id") or "")),
        str(row.get("parentObservationId") or row.get("parent_observation_id") or ""),
    )
    span.is_model = str(row.get("type") or "GENERATION").upper() == "GENERATION"
    if not span.is_model:
        return span
    if row.get("level") == "ERROR":
        span.problem = f"it failed: {str(row.get('statusMessage') or row.get('status_message') or '')[:200]}"
    request, output = row.get("input"), row.get("output")
    request = dict(request) if isinstance(request, dict) else {"messages": request}
    messages = request.get("messages")
    if not isinstance(messages, list) and not isinstance(request.get("input"), list) and "contents" not in request:
        span.problem = span.problem or "its input is no list of messages"
        return span
    if isinstance(messages, list):
        # Langfuse's handler of LangChain lists the tools behind the messages, as messages of their own.
        offered = [tool for message in messages if (tool := _tool(message)) is not None]
        request["messages"] = [message for message in messages if _tool(message) is None]
        request["tools"] = request.get("tools") or offered or None
    beside = [row.get(key) for key in ("metadata", "modelParameters", "model_parameters")]
    tools = next((each["tools"] for each in beside if isinstance(each, dict) and each.get("tools")), None)
    tools = parse_value(tools, f"{where}: tools") if isinstance(tools, str) else tools
    span.record = {"request": request, "tools": tools, "response": output}
    return span


def _agents_span(raw: Mapping[str, Any], where: str) -> Span:
    said = raw["span_data"]
    kind = said.get("type")
    span = Span(
        *(where, raw, str(said.get("name") or kind or ""), str(raw.get("trace_id") or ""), str(raw.get("id") or "")),
        str(raw.get("parent_id") or ""),
    )
    span.is_model = kind in ("generation", "response")
    if error := raw.get("error"):
        span.problem = f"it failed: {shortened(error, 200)}"
    if kind == "response" and not said.get("input"):
        span.problem = span.problem or "its texts are kept by the service alone, and not in the trace"
    elif span.is_model:
        span.record = {"messages": said.get("input"), "response": said.get("output") or None}
    return span


def _tool(message: Any) -> Any:
    """Return the tool that a message of Langfuse's handler names, or None."""
    content = message.get("content") if isinstance(message, dict) and message.get("role") == "tool" else None
    if not isinstance(content, dict) or message.get("tool_call_id"):
        return None
    is_tool = isinstance(content.get("function"), dict) or ("name" in content and "description" in content)
    return content if is_tool else None


def _run(raw: Mapping[str, Any], where: str) -> Span:
    row = _read(raw)
    span = Span(
        *(where, raw, str(row.get("name") or ""), str(row.get("trace_id") or ""), str(row.get("id") or "")),
        str(row.get("parent_run_id") or ""),
    )
    span.is_model = row.get("run_type") == "llm"
    if not span.is_model:
        return span
    if row.get("error"):
        span.problem = f"it failed: {str(row['error']).splitlines()[0][:200]}"
    inputs, extra = row.get("inputs"), row.get("extra")
    if not isinstance(inputs, dict):
        span.problem = span.problem or "its inputs are no object"
        return span
    request = dict(inputs)
    messages = request.get("messages")
    # LangChain asks in batches; a run of a chat model has one.
    if isinstance(messages, list) and len(messages) == 1 and isinstance(messages[0], list):
        request["messages"] = messages[0]
    parameters = extra.get("invocation_params") if isinstance(extra, dict) else None
    beside = parameters if isinstance(parameters, dict) else {}
    tools = request.get("tools") or beside.get("tools") or beside.get("functions")
    span.record = {"request": request, "tools": tools, "response": row.get("outputs")}
    return span
