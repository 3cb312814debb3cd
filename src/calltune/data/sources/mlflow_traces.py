"""Traces as MLflow exports them: each span of type CHAT_MODEL is one question to a model, and its answer.

A row is what `Trace.to_json()` gives (`info`, and `data.spans`), or a row of the table of `mlflow.search_traces()` as
JSON (`trace`, which is that text, or `spans`). Attributes are JSON texts: `mlflow.spanType`, `mlflow.spanInputs` with
the request, `mlflow.spanOutputs` with the response, `mlflow.chat.tools`. This is how MLflow 3.17 records the chat
models of OpenAI (chat completions and the Responses API), LangChain, Anthropic, Amazon Bedrock and Gemini; a streamed
answer is put together from the span's events. A span that holds a conversation in another layout is rejected.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calltune.calling.strict_json import parse_value, shortened
from calltune.data.sources.conversations import Turns, example_of, read_tools
from calltune.data.sources.offers import offered_in_text
from calltune.data.sources.records import joined, request_turns, response_turns, tools_of
from calltune.data.sources.streams import answer_of_events, is_stream
from calltune.data.sources.turns import Turn, talk_of
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Example, Rejected, Tool

_CONVERSE_EVENTS = (
    *("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"),
)


def is_trace(row: Mapping[str, Any]) -> bool:
    """Return whether a row is an MLflow trace."""
    return "messages" not in row and any(key in row for key in ("data", "spans", "trace"))


def trace_answers(
    row: Mapping[str, Any], where: str, offered: Sequence[Tool], turns: Turns
) -> Iterator[Example | Rejected]:
    """Yield an example of each chat span in order of time, with the id `file:line#number`.

    Args:
        offered: the tools of spans that name none.
        turns: `last` asks for the example of the last span alone.

    Raises:
        DataError: the row holds no spans, or none of a chat model.
    """
    spans = [span for span in _spans(row, where) if _attribute(span, "mlflow.spanType", where) == "CHAT_MODEL"]
    if not spans:
        raise DataError(f"{where}: no span is of type CHAT_MODEL")
    numbered = list(enumerate(spans, start=1))
    for number, span in numbered[-1:] if turns == "last" else numbered:
        place = f"{where}: span {shortened(span.get('name'))}"
        try:
            yield _example(span, f"{where}#{number}", place, offered)
        except DataError as error:
            yield Rejected(f"{where}#{number}", "openai_traces", str(error), span)


def _spans(row: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    trace: Any = row
    if isinstance(row.get("trace"), str):
        trace = parse_value(row["trace"], f"{where}: trace")
        if not isinstance(trace, dict):
            raise DataError(f"{where}: 'trace' must spell an object, not {type(trace).__name__}")
    data = require(trace, "data", dict, where) if "data" in trace else trace
    spans = require(data, "spans", list, where)
    for number, span in enumerate(spans):
        if not isinstance(span, dict):
            raise DataError(f"{where}: spans[{number}] must be an object, not {type(span).__name__}")
    return sorted(spans, key=_start)


def _start(span: Mapping[str, Any]) -> int:
    start = span.get("start_time_unix_nano", span.get("start_time"))
    return start if isinstance(start, int) else 0


def _attribute(span: Mapping[str, Any], name: str, where: str) -> Any:
    """Return an attribute's value, or None."""
    attributes = require(span, "attributes", dict, where)
    value = attributes.get(name)
    return parse_value(value, f"{where}: {name}") if isinstance(value, str) else value


def _example(span: Mapping[str, Any], row_id: str, where: str, offered: Sequence[Tool]) -> Example:
    inputs = _attribute(span, "mlflow.spanInputs", where)
    outputs = _attribute(span, "mlflow.spanOutputs", where)
    if not isinstance(inputs, dict) or not _holds_messages(inputs, outputs):
        raise DataError(f"{where}: 'mlflow.spanInputs' holds no list 'messages'")
    if isinstance(inputs.get("body"), str):
        inputs = {**inputs, "body": parse_value(inputs["body"], f"{where}: body")}
    request = inputs["body"] if isinstance(inputs.get("body"), dict) else inputs
    history = request_turns(request, where, {})
    # MLflow's own list of LangChain's tools lacks the parameters inside of objects.
    asked = _attribute(span, "invocation_params", where)
    places = (request, asked) if isinstance(asked, dict) else (request,)
    tools = tools_of(places, where) or read_tools(_attribute(span, "mlflow.chat.tools", where), f"{where}: tools")
    answer = _answer(span, outputs, where)
    turns, tools = offered_in_text(joined(history, answer, where), tools or tuple(offered))
    talk = talk_of(turns, tools)
    last = talk.said[-1] if talk.said else None
    if problem := talk.problem or (last and last.problem):
        raise DataError(problem)
    if last is None or last.message.role != "assistant":
        raise DataError(f"{where}: the answer must be the assistant's, not the {turns[-1].role}'s")
    if not last.is_learned:
        raise DataError(f"{where}: the answer is marked as not to be learned")
    before = [one.message for one in talk.said[:-1]]
    return example_of("openai_traces", row_id, where, before, last.message, tools)


def _holds_messages(inputs: Mapping[str, Any], outputs: Any) -> bool:
    """Return whether a span's inputs are a request that can be read: of a chat model, or of the Responses API."""
    if isinstance(inputs.get("messages"), list) or isinstance(inputs.get("contents"), list):
        return True
    if isinstance(inputs.get("input"), list) or isinstance(inputs.get("body"), str | dict):
        return True
    return (
        isinstance(inputs.get("input"), str) and isinstance(outputs, dict) and isinstance(outputs.get("output"), list)
    )


def _answer(span: Mapping[str, Any], outputs: Any, where: str) -> list[Turn]:
    """Return the answer of a span. A streamed one is put together from the span's events.

    MLflow itself keeps no calls of an OpenAI stream in the outputs, and one call of Bedrock's.
    """
    chunks = [chunk for event in span.get("events") or [] if (chunk := _chunk(event, where)) is not None]
    if is_stream(chunks):
        return response_turns(answer_of_events(chunks, f"{where}: events"), f"{where}: answer")
    if not isinstance(outputs, dict):
        raise DataError(f"{where}: 'mlflow.spanOutputs' holds no answer")
    return response_turns(outputs, where if "choices" in outputs else f"{where}: answer")


def _chunk(event: Any, where: str) -> Any:
    """Return the piece of a streamed answer that an event of a span holds, or None.

    For Bedrock the event's name is what ConverseStream calls the piece.
    """
    attributes = event.get("attributes") if isinstance(event, dict) else None
    if not isinstance(attributes, dict):
        return None
    value = attributes.get("mlflow.chunk.value", attributes.get("json"))
    value = parse_value(value, f"{where}: events") if isinstance(value, str) else value
    is_named = isinstance(value, dict) and "type" not in value and event.get("name") in _CONVERSE_EVENTS
    return {event["name"]: value} if is_named else value
