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


def span_of(inputs: object, outputs: object, *events: tuple[str, str, object]) -> dict:
    attributes = {"mlflow.spanType": "CHAT_MODEL", "mlflow.spanInputs": inputs, "mlflow.spanOutputs": outputs}
    listed = [{"name": name, "attributes": {key: json.dumps(value)}} for name, key, value in events]
    return {"spans": [{"name": "s", "attributes": {k: json.dumps(v) for k, v in attributes.items()}, "events": listed}]}


DELTAS = (
    {"content": "Wait.", "tool_calls": [{"index": 0, "id": "1", "function": {"name": "find", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"what": "it"}'}}]},
)
REQUEST = {"messages": [QUESTION], "tools": [TOOL]}
BEGUN = {"toolUseId": "1", "name": "find"}
USE = {"type": "tool_use", "id": "1", "name": "find", "input": {"what": "it"}}
SPANS = {
    "openai's stream": span_of(
        REQUEST,
        {"choices": [{"finish_reason": "tool_calls", "message": {"content": "Wait.", "tool_calls": None}}]},
        *(("mlflow.chunk.item.0", "mlflow.chunk.value", {"choices": [{"delta": delta}]}) for delta in DELTAS),
        ("mlflow.chunk.item.2", "mlflow.chunk.value", {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
    ),
    "responses": span_of(
        {"input": [QUESTION], "tools": [{"type": "function", **TOOL["function"]}]},
        {
            "object": "response",
            "output": [
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]},
                {"type": "function_call", "call_id": "1", "name": "find", "arguments": '{"what": "it"}'},
            ],
        },
    ),
    "anthropic": span_of(
        REQUEST,
        {"role": "assistant", "content": [{"type": "text", "text": "Wait."}, USE], "stop_reason": "tool_use"},
    ),
    "bedrock's stream": span_of(
        {**REQUEST, "messages": [user([{"text": "Find it."}])]},
        {"output": {"message": {"role": "assistant", "content": [{"text": "Wait."}]}}, "stopReason": "tool_use"},
        ("contentBlockDelta", "json", {"delta": {"text": "Wait."}, "contentBlockIndex": 0}),
        (
            "contentBlockStart",
            "json",
            {"start": {"toolUse": {"toolUseId": "1", "name": "find"}}, "contentBlockIndex": 1},
        ),
        ("contentBlockDelta", "json", {"delta": {"toolUse": {"input": '{"what": "it"}'}}, "contentBlockIndex": 1}),
        ("messageStop", "json", {"stopReason": "tool_use"}),
    ),
}


@pytest.mark.parametrize("name", SPANS)
def test_spans_of_every_maker_whole_or_streamed_give_the_same(tmp_path: Path, name: str) -> None:
    (one,) = read(openai_traces, tmp_path / "traces.jsonl", [SPANS[name]])
    assert isinstance(one, Example), one
    assert one.messages == (Message("user", "Find it."), Message("assistant", "Wait.", (FOUND,)))
    assert [tool.name for tool in one.tools] == ["find"]


def test_a_span_that_was_cut_off_or_lost_its_calls_is_rejected(tmp_path: Path) -> None:
    for finish, reason in (("length", "the answer was cut off"), ("tool_calls", "the answer holds no call")):
        outputs = {"choices": [{"finish_reason": finish, "message": assistant("Wait.")}]}
        (rejected,) = read(openai_traces, tmp_path / "traces.jsonl", [span_of(REQUEST, outputs)])
        assert isinstance(rejected, Rejected)
        assert reason in rejected.reason
