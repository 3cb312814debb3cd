"""Traces as MLflow exports them: each span of type CHAT_MODEL is one question to a model, and its answer.

A row is what `Trace.to_json()` gives (`info`, and `data.spans`), or a row of the table of `mlflow.search_traces()` as
JSON (`trace`, which is that text, or `spans`). Attributes are JSON texts: `mlflow.spanType`, `mlflow.spanInputs` with
`messages` and `tools`, `mlflow.spanOutputs` with `choices` or a message, `mlflow.chat.tools`. This is how MLflow 3.17
records OpenAI's and LangChain's chat models. A span that holds a conversation in another layout is rejected.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calltune.calling.strict_json import parse_value, shortened
from calltune.data.sources.chat_messages import read_message, read_messages
from calltune.data.sources.conversations import Turns, example_of, read_tools
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Example, Rejected, Tool


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
    if not isinstance(inputs, dict) or not isinstance(inputs.get("messages"), list):
        raise DataError(f"{where}: 'mlflow.spanInputs' holds no list 'messages'")
    listed = inputs.get("tools")
    if listed is None:
        listed = _attribute(span, "mlflow.chat.tools", where)
    tools = read_tools(listed, f"{where}: tools") or offered
    before = [message for message, _ in read_messages(inputs["messages"], f"{where}: messages")]
    answer = read_message(_answer(span, where), f"{where}: answer")
    if answer.role != "assistant":
        raise DataError(f"{where}: the answer must be the assistant's, not the {answer.role}'s")
    return example_of("openai_traces", row_id, where, before, answer, tools)


def _answer(span: Mapping[str, Any], where: str) -> Any:
    outputs = _attribute(span, "mlflow.spanOutputs", where)
    if not isinstance(outputs, dict):
        raise DataError(f"{where}: 'mlflow.spanOutputs' holds no answer")
    if "choices" not in outputs:
        return outputs
    choices = require(outputs, "choices", list, where)
    if len(choices) != 1 or not isinstance(choices[0], dict):
        raise DataError(f"{where}: 'choices' must hold one answer, not {len(choices)}")
    return require(choices[0], "message", dict, f"{where}: choices[0]")
