"""Makes what MLflow, Langfuse, LangSmith and LangChain record, a process for each: `python make_traces.py NAME...`."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import make_spans
import translated
from recorded import SERVER, ask_all, write
from scripted_agent import SYSTEM, TOOLS


def _chain(before: list[dict[str, Any]], is_streamed: bool) -> Any:
    """Ask through LangChain."""
    from langchain_core.messages import convert_to_messages
    from langchain_openai import ChatOpenAI

    messages = convert_to_messages([{"role": "system", "content": SYSTEM}, *before])
    model = ChatOpenAI(model="scripted", stream_usage=False).bind_tools(TOOLS)
    if not is_streamed:
        return model.invoke(messages)
    pieces = iter(model.stream(messages))
    answer = next(pieces)
    for piece in pieces:
        answer += piece
    return answer


def _mlflow(flavor: str, ask: Callable[..., Any]) -> Callable[[str], None]:
    def make(name: str) -> None:
        # Before MLflow's own threads import it too.
        import httpx
        import mlflow

        assert httpx

        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            mlflow.set_tracking_uri(f"sqlite:///{folder}/store.db")
            getattr(mlflow, flavor).autolog()
            ask_all(ask)
            mlflow.flush_trace_async_logging()
            traces = mlflow.search_traces(return_type="list", max_results=1000)
            os.chdir("/")
            write(name, [json.loads(trace.to_json()) for trace in reversed(traces)])

    return make


def langfuse(name: str) -> None:
    from langfuse import Langfuse
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exported, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exported))
    Langfuse(public_key="pk", secret_key="sk", host=SERVER.url, tracer_provider=tracers)
    import openai
    from langfuse.openai import OpenAI

    assert openai

    def ask(before: list[dict[str, Any]], is_streamed: bool) -> None:
        answer = OpenAI().chat.completions.create(**translated.openai(before), stream=is_streamed)
        if is_streamed:
            list(answer)

    ask_all(ask)
    spans = list(exported.get_finished_spans())
    write("langfuse_spans", [json.loads(span.to_json()) for span in spans])
    write(name, [as_observation(json.loads(span.to_json())) for span in spans])


def as_observation(span: dict[str, Any]) -> dict[str, Any]:
    """Return a span of Langfuse's SDK as its server's export has it: the names are those of the SDK's own API types."""
    from langfuse.api.commons.types.observation_v2 import ObservationV2

    said = {key.removeprefix("langfuse.observation."): value for key, value in span["attributes"].items()}

    def read(key: str) -> Any:
        value = said.get(key)
        return json.loads(value) if isinstance(value, str) and value[:1] in "{[" else value

    row = {
        **{"id": span["context"]["span_id"][2:], "traceId": span["context"]["trace_id"][2:], "name": span["name"]},
        **{"type": str(said["type"]).upper(), "startTime": span["start_time"], "endTime": span["end_time"]},
        **{
            "parentObservationId": span["parent_id"],
            "level": "DEFAULT",
            "input": read("input"),
            "output": read("output"),
        },
        **{"metadata": {}, "modelParameters": read("model.parameters"), "model": said.get("model.name")},
    }
    known = {re.sub("_(.)", lambda match: match[1].upper(), key) for key in ObservationV2.model_fields}
    assert set(row) <= {*known, "model"}, set(row) - known
    return row


def langsmith(name: str) -> None:
    from langsmith import Client
    from langsmith.wrappers import wrap_openai
    from openai import OpenAI

    client = Client(api_url=SERVER.url, api_key="none", auto_batch_tracing=False)
    os.environ["LANGSMITH_TRACING"] = "true"

    def ask(before: list[dict[str, Any]], is_streamed: bool) -> None:
        wrapped = wrap_openai(OpenAI(), tracing_extra={"client": client})
        answer = wrapped.chat.completions.create(**translated.openai(before), stream=is_streamed)
        if is_streamed:
            list(answer)

    ask_all(ask)
    client.flush()
    write(name, _runs())


def langsmith_langchain(name: str) -> None:
    from langchain_core.messages import convert_to_messages
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tracers.langchain import LangChainTracer
    from langchain_openai import ChatOpenAI
    from langsmith import Client

    client = Client(api_url=SERVER.url, api_key="none", auto_batch_tracing=False)
    tracer = LangChainTracer(client=client)

    def ask(before: list[dict[str, Any]], is_streamed: bool) -> None:
        messages = convert_to_messages([{"role": "system", "content": SYSTEM}, *before])
        model = ChatOpenAI(model="scripted", stream_usage=False).bind_tools(TOOLS)
        config = RunnableConfig(callbacks=[tracer])
        if is_streamed:
            list(model.stream(messages, config))
        else:
            model.invoke(messages, config)

    ask_all(ask)
    tracer.wait_for_futures()
    client.flush()
    write(name, _runs())


def _runs() -> list[dict[str, Any]]:
    """Return the runs that the client sent, each begun and then ended."""
    runs = dict[str, dict[str, Any]]()
    for path, body in SERVER.received:
        if "/runs" in path:
            named = body.get("id") or path.rpartition("/")[2]
            runs.setdefault(named, {}).update({key: value for key, value in body.items() if value is not None})
    return [{key: value for key, value in run.items() if key != "serialized"} for run in runs.values()]


def langchain_dumps(name: str) -> None:
    from langchain_core.load import dumpd
    from langchain_core.messages import convert_to_messages

    def ask(before: list[dict[str, Any]], is_streamed: bool) -> Any:
        messages = convert_to_messages([{"role": "system", "content": SYSTEM}, *before])
        return {"messages": [dumpd(message) for message in (*messages, _chain(before, is_streamed))], "tools": TOOLS}

    write(name, ask_all(ask))


MAKERS: dict[str, Callable[[str], None]] = {
    "mlflow_openai": _mlflow("openai", make_spans._openai),
    "mlflow_responses": _mlflow("openai", make_spans._responses),
    "mlflow_anthropic": _mlflow("anthropic", make_spans._anthropic),
    "mlflow_bedrock": _mlflow("bedrock", make_spans._bedrock),
    "mlflow_langchain": _mlflow("langchain", _chain),
    "langfuse_observations": langfuse,
    "langsmith_runs": langsmith,
    "langsmith_langchain": langsmith_langchain,
    "langchain_dumps": langchain_dumps,
}

if __name__ == "__main__":
    if os.environ.get("MAKE"):
        MAKERS[os.environ["MAKE"]](os.environ["MAKE"])
    else:
        for each in sys.argv[1:] or list(MAKERS):
            subprocess.run([sys.executable, __file__], env={**os.environ, "MAKE": each}, check=True)
