"""Traces that the installed MLflow recorded and exported."""

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import SpanType, Trace
from rows_of import TOOL, assistant, call, read, result, user

from calltune.data.sources import openai_traces
from calltune.types import Example, Message, Rejected, ToolCall

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of its store

QUESTION, FIRST = user("Find it."), assistant(None, tool_calls=[call("it")])
FOUND = ToolCall("find", {"what": "it"})


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    """An agent that asks a chat model, runs a tool, asks again, and asks a last time in vain."""
    uri = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/store.db")

    def ask(messages: list, answer: dict | None, **inputs: object) -> None:
        with mlflow.start_span("chat", span_type=SpanType.CHAT_MODEL) as span:
            span.set_inputs({"messages": messages, "model": "m", **inputs})
            if answer is None:
                raise TimeoutError
            if "tools" not in inputs:
                mlflow.tracing.set_span_chat_tools(span, [TOOL])
            span.set_outputs({"choices": [{"index": 0, "message": answer, "finish_reason": "stop"}]})

    with mlflow.start_span("agent", span_type=SpanType.AGENT) as root:
        root.set_inputs({"question": "Find it."})
        ask([QUESTION], FIRST, tools=[TOOL])
        with mlflow.start_span("find", span_type=SpanType.TOOL) as span:
            span.set_outputs("found")
        ask([QUESTION, FIRST, result("found")], {**assistant("Here it is."), "refusal": None})
        with pytest.raises(TimeoutError):
            ask([QUESTION], None)
    mlflow.flush_trace_async_logging()
    yield mlflow.get_trace(root.trace_id)
    mlflow.set_tracking_uri(uri)


def test_each_chat_span_is_an_example(tmp_path: Path, trace: Trace) -> None:
    file = tmp_path / "traces.jsonl"
    first, second, failed = read(openai_traces, file, [trace.to_json()])
    assert isinstance(first, Example)
    assert first.messages == (Message("user", "Find it."), Message("assistant", "", (FOUND,)))
    assert second.messages == (*first.messages, Message("tool", "found"), Message("assistant", "Here it is."))
    assert (first.behavior, second.behavior) == ("tool_call", "direct")
    assert first.tools[0].parameters["required"] == second.tools[0].parameters["required"] == ["what"]
    assert isinstance(failed, Rejected)
    assert failed.reason == f"{file}:1: span 'chat': 'mlflow.spanOutputs' holds no answer"
    assert [noun.id for noun in (first, second, failed)] == [f"{file}:1#{number}" for number in (1, 2, 3)]


def test_every_export_gives_the_same(tmp_path: Path, trace: Trace) -> None:
    expected = read(openai_traces, tmp_path / "traces.jsonl", [trace.to_json()])[:2]
    pretty = tmp_path / "trace.json"
    pretty.write_text(trace.to_json(pretty=True))
    table = mlflow.search_traces(return_type="pandas", locations=[trace.info.experiment_id])
    whole, spans = tmp_path / "table.jsonl", tmp_path / "spans.jsonl"
    table.to_json(whole, orient="records", lines=True)
    table.drop(columns="trace").to_json(spans, orient="records", lines=True)
    for file in (pretty, whole, spans):
        found = list(openai_traces.read(openai_traces.Settings(path=str(file))))
        assert [noun.messages for noun in found if isinstance(noun, Example)] == [noun.messages for noun in expected]


def test_the_last_answer_alone(tmp_path: Path, trace: Trace) -> None:
    exported = json.loads(trace.to_json())
    exported["data"]["spans"] = exported["data"]["spans"][:-1]
    (last,) = read(openai_traces, tmp_path / "traces.json", [exported], turns="last")
    assert last.messages[-1].content == "Here it is."


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"info": {}, "data": {"spans": []}}, "no span is of type CHAT_MODEL"),
        ({"info": {}, "data": {}}, "'spans' is missing"),
        ({"trace": "{"}, "trace: not valid JSON"),
        ({"trace": "[]"}, "'trace' must spell an object"),
        ({"spans": [3]}, "spans[0] must be an object"),
        ({"spans": [{}]}, "'attributes' is missing"),
    ],
)
def test_a_trace_without_an_answer_is_rejected(tmp_path: Path, row: dict, reason: str) -> None:
    (rejected,) = read(openai_traces, tmp_path / "traces.jsonl", [row])
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(f"{rejected.id}: ")
    assert reason in rejected.reason


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ({"input": "q"}, {"role": "assistant", "content": "a"}, "'mlflow.spanInputs' holds no list 'messages'"),
        ({"messages": [QUESTION]}, {"choices": []}, "'choices' must hold one answer, not 0"),
        ({"messages": [QUESTION]}, {"role": "user", "content": "a"}, "the answer must be the assistant's"),
        ({"messages": [QUESTION]}, "text", "'mlflow.spanOutputs' holds no answer"),
    ],
)
def test_a_span_in_another_layout_is_rejected(tmp_path: Path, inputs: object, outputs: object, reason: str) -> None:
    attributes = {"mlflow.spanType": "CHAT_MODEL", "mlflow.spanInputs": inputs, "mlflow.spanOutputs": outputs}
    span = {"name": "s", "attributes": {key: json.dumps(value) for key, value in attributes.items()}}
    (rejected,) = read(openai_traces, tmp_path / "traces.jsonl", [{"spans": [span]}])
    assert isinstance(rejected, Rejected)
    assert reason in rejected.reason
