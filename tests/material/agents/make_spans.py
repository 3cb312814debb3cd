"""Makes the spans of OpenTelemetry that instrumentations give: `python make_spans.py NAME...`, a process for each name.

Spans are written as the SDK's console exporter writes them, and for one also as the protocol's JSON, a request a line.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import translated
from recorded import ask_all, write


def _openai(before: list[dict[str, Any]], is_streamed: bool) -> None:
    import openai

    answer = openai.OpenAI().chat.completions.create(**translated.openai(before), stream=is_streamed)
    if is_streamed:
        list(answer)


def _responses(before: list[dict[str, Any]], is_streamed: bool) -> None:
    import openai

    answer = openai.OpenAI().responses.create(**translated.responses(before), stream=is_streamed)
    if is_streamed:
        list(answer)


def _anthropic(before: list[dict[str, Any]], is_streamed: bool) -> None:
    import anthropic

    answer = anthropic.Anthropic().messages.create(**translated.anthropic(before), stream=is_streamed)
    if is_streamed:
        list(answer)


def _bedrock(before: list[dict[str, Any]], is_streamed: bool) -> None:
    import boto3

    client = boto3.client("bedrock-runtime")
    if is_streamed:
        list(client.converse_stream(**translated.bedrock(before))["stream"])
    else:
        client.converse(**translated.bedrock(before))


def _genai_v2() -> None:
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()


def _traceloop_openai() -> None:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()


def _traceloop_anthropic() -> None:
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

    AnthropicInstrumentor().instrument()


def _traceloop_bedrock() -> None:
    from opentelemetry.instrumentation.bedrock import BedrockInstrumentor

    BedrockInstrumentor().instrument()


def _botocore() -> None:
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

    BotocoreInstrumentor().instrument()


def _openinference() -> None:
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()


LATEST = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}
EVENTS = {**LATEST, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "EVENT_ONLY"}
OLDER = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
MAKERS: dict[str, tuple[Callable[[], None], Callable[..., None], dict[str, str]]] = {
    "otel_openai_v2": (_genai_v2, _openai, LATEST),
    "otel_openai_v2_details": (_genai_v2, _openai, EVENTS),
    "otel_openai_v2_events": (_genai_v2, _openai, OLDER),
    "otel_botocore_events": (_botocore, _bedrock, OLDER),
    "traceloop_openai": (_traceloop_openai, _openai, {}),
    "traceloop_anthropic": (_traceloop_anthropic, _anthropic, {}),
    "traceloop_bedrock": (_traceloop_bedrock, _bedrock, {}),
    "openinference_openai": (_openinference, _openai, {}),
    "openinference_responses": (_openinference, _responses, {}),
}


def make(name: str) -> None:
    from opentelemetry import _logs, trace
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
    tracers, loggers = TracerProvider(), LoggerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
    trace.set_tracer_provider(tracers)
    _logs.set_logger_provider(loggers)
    instrument, ask, _ = MAKERS[name]
    instrument()
    ask_all(ask)
    rows = [json.loads(log.to_json()) for log in logs.get_finished_logs()]
    rows += [json.loads(span.to_json()) for span in spans.get_finished_spans()]
    write(name, rows)
    if name in ("otel_openai_v2", "otel_openai_v2_events"):
        write(f"{name}_otlp", _protocol(spans.get_finished_spans(), logs.get_finished_logs()))


def _protocol(spans: Any, logs: Any) -> list[Any]:
    """Return the requests that the protocol's file exporter writes, of several spans or logs each."""
    import io

    from opentelemetry.exporter.otlp.json.file._log_exporter import FileLogExporter
    from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter

    text = io.StringIO()
    for n in range(0, len(logs), 20):
        FileLogExporter(stream=text).export(logs[n : n + 20])
    for n in range(0, len(spans), 7):
        FileSpanExporter(stream=text).export(spans[n : n + 7])
    return [json.loads(line) for line in text.getvalue().splitlines()]


if __name__ == "__main__":
    if os.environ.get("MAKE"):
        make(os.environ["MAKE"])
    else:
        for each in sys.argv[1:] or list(MAKERS):
            environment = {**os.environ, **MAKERS[each][2], "MAKE": each}
            subprocess.run([sys.executable, __file__], env=environment, check=True)
