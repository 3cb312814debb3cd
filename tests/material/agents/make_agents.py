"""Makes what agents' frameworks keep: `python make_agents.py NAME...`, a process for each name."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from recorded import SERVER, ask_all, write
from scripted_agent import CONVERSATIONS, SYSTEM, TOOLS

FUNCTIONS = [tool["function"] for tool in TOOLS]


def _conversations() -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield what the user says in each conversation, and the tools' results. The server has the answers ready."""
    for messages in CONVERSATIONS.values():
        SERVER.script = iter([message for message in messages if message["role"] == "assistant"])
        results = {message["tool_call_id"]: message["content"] for message in messages if message["role"] == "tool"}
        yield [message["content"] for message in messages if message["role"] == "user"], results


def _exporter() -> tuple[Any, Any]:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exported, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exported))
    trace.set_tracer_provider(tracers)
    return exported, tracers


def pydantic_ai_spans(name: str) -> None:
    from pydantic_ai import Agent, RunContext, Tool
    from pydantic_ai.models.instrumented import InstrumentationSettings
    from pydantic_ai.models.openai import OpenAIChatModel

    exported, tracers = _exporter()
    Agent.instrument_all(InstrumentationSettings(tracer_provider=tracers))
    results, kept = dict[str, str](), list[Any]()

    def answer(context: RunContext, **_: Any) -> str:
        return results[str(context.tool_call_id)]

    tools = [Tool.from_schema(answer, f["name"], f["description"], f["parameters"], takes_ctx=True) for f in FUNCTIONS]
    for asked, found in _conversations():
        results, history = found, []
        agent = Agent(OpenAIChatModel("scripted"), system_prompt=SYSTEM, tools=tools)
        for text in asked:
            run = agent.run_sync(text, message_history=history)
            history = run.all_messages()
        kept.append({"messages": json.loads(run.all_messages_json()), "tools": TOOLS})
    write(name, [json.loads(span.to_json()) for span in exported.get_finished_spans()])
    write("pydantic_ai_messages", kept)


def openai_agents_spans(name: str) -> None:
    from agents import Agent, FunctionTool, Runner, set_trace_processors
    from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
    from agents.tracing import TracingProcessor
    from openai import AsyncOpenAI

    spans, kept, results = list[Any](), list[Any](), dict[str, str]()

    class Kept(TracingProcessor):
        def on_span_end(self, span: Any) -> None:
            spans.append(span.export())

        def on_span_start(self, span: Any) -> None: ...
        def on_trace_start(self, trace: Any) -> None: ...
        def on_trace_end(self, trace: Any) -> None: ...
        def shutdown(self) -> None: ...
        def force_flush(self) -> None: ...

    async def answer(context: Any, _: str) -> str:
        return results[context.tool_call_id]

    set_trace_processors([Kept()])
    tools = [
        FunctionTool(f["name"], f["description"], f["parameters"], answer, strict_json_schema=False) for f in FUNCTIONS
    ]

    async def run() -> None:
        nonlocal results
        for asked, found in _conversations():
            results, history = found, list[Any]()
            model = OpenAIChatCompletionsModel("scripted", AsyncOpenAI())
            agent = Agent("trips", instructions=SYSTEM, tools=list(tools), model=model)
            for text in asked:
                done = await Runner.run(agent, [*history, {"role": "user", "content": text}])
                history = done.to_input_list()
            kept.append({"messages": history, "instructions": SYSTEM, "tools": TOOLS})

    asyncio.run(run())
    write(name, spans)
    write("openai_agents_items", json.loads(json.dumps(kept)))


def langfuse_langchain(name: str) -> None:
    from langchain_core.messages import convert_to_messages
    from langchain_openai import ChatOpenAI
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler
    from make_traces import as_observation

    exported, tracers = _exporter()
    Langfuse(public_key="pk", secret_key="sk", host=SERVER.url, tracer_provider=tracers)
    handler = CallbackHandler()

    def ask(before: list[dict[str, Any]], is_streamed: bool) -> None:
        messages = convert_to_messages([{"role": "system", "content": SYSTEM}, *before])
        model = ChatOpenAI(model="scripted", stream_usage=False).bind_tools(TOOLS)
        if is_streamed:
            list(model.stream(messages, {"callbacks": [handler]}))
        else:
            model.invoke(messages, {"callbacks": [handler]})

    ask_all(ask)
    write(name, [as_observation(json.loads(span.to_json())) for span in exported.get_finished_spans()])


def otel_google_genai(name: str) -> None:
    from make_logs import google_genai
    from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor

    exported, _ = _exporter()
    GoogleGenAiSdkInstrumentor().instrument()
    ask_all(google_genai)
    write(name, [json.loads(span.to_json()) for span in exported.get_finished_spans()])


MAKERS: dict[str, Callable[[str], None]] = {
    "pydantic_ai_spans": pydantic_ai_spans,
    "openai_agents_spans": openai_agents_spans,
    "langfuse_langchain": langfuse_langchain,
    "otel_google_genai": otel_google_genai,
}
LATEST = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}

if __name__ == "__main__":
    if os.environ.get("MAKE"):
        MAKERS[os.environ["MAKE"]](os.environ["MAKE"])
    else:
        for each in sys.argv[1:] or list(MAKERS):
            subprocess.run([sys.executable, __file__], env={**os.environ, **LATEST, "MAKE": each}, check=True)
