"""Makes what Strands leaves of its agents: `python make_strands.py`.

That are the folder of a session, the spans of both forms of its telemetry, and these as Amazon Bedrock AgentCore has
them in CloudWatch, through AWS's own distribution of OpenTelemetry.
"""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

from recorded import FOLDER, SERVER, write
from scripted_agent import CONVERSATIONS, STREAMED, SYSTEM, TOOLS

LATEST = "gen_ai_latest_experimental,gen_ai_tool_definitions"
MODES = {
    "strands_events": {},
    "strands": {"OTEL_SEMCONV_STABILITY_OPT_IN": LATEST},
    "agentcore": {},
    "strands_session": {},
}


def _agents(session: str = "") -> None:
    """Run every conversation through an agent of Strands with a model of Bedrock and the six tools."""
    from strands import Agent
    from strands.models import BedrockModel
    from strands.session.file_session_manager import FileSessionManager
    from strands.types.tools import AgentTool

    results = dict[str, str]()

    class Scripted(AgentTool):
        def __init__(self, function: dict[str, Any]) -> None:
            super().__init__()
            self.function = function

        @property
        def tool_name(self) -> str:
            return self.function["name"]

        @property
        def tool_spec(self) -> Any:
            schema = {"json": self.function["parameters"]}
            return {"name": self.tool_name, "description": self.function["description"], "inputSchema": schema}

        @property
        def tool_type(self) -> str:
            return "scripted"

        async def stream(self, tool_use: Any, invocation_state: Any, **_: Any) -> Any:
            text = results[tool_use["toolUseId"]]
            status = "error" if text.startswith("ERROR") else "success"
            yield {"toolUseId": tool_use["toolUseId"], "status": status, "content": [{"text": text}]}

    for number, (name, messages) in enumerate(CONVERSATIONS.items()):
        results = {m["tool_call_id"]: m["content"] for m in messages if m["role"] == "tool"}
        answers = [m for m in messages if m["role"] == "assistant"]
        manager = FileSessionManager(session_id=f"s{number:02}", storage_dir=session) if session else None
        agent = Agent(
            model=BedrockModel(model_id="amazon.nova-lite-v1:0", streaming=name in STREAMED),
            **{"system_prompt": SYSTEM, "tools": [Scripted(tool["function"]) for tool in TOOLS]},
            **{
                "callback_handler": None,
                "session_manager": manager,
                "agent_id": "trips",
                "trace_attributes": {"session.id": f"s{number:02}"},
            },
        )
        SERVER.script = iter(answers)
        for message in messages:
            if message["role"] == "user":
                agent(message["content"])


def make(name: str) -> None:
    if name == "strands_session":
        folder = FOLDER / "strands_session"
        shutil.rmtree(folder, ignore_errors=True)
        _agents(str(folder))
        print(name, len(list(folder.rglob("*.json"))), "files")
        return
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exported, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exported))
    trace.set_tracer_provider(tracers)
    _agents()
    spans = list(exported.get_finished_spans())
    write(name, _cloudwatch(spans) if name == "agentcore" else [json.loads(span.to_json()) for span in spans])


def _cloudwatch(spans: list[Any]) -> list[dict[str, Any]]:
    """Return spans, and the events that AWS's distribution takes out of them, as CloudWatch's log groups have them."""
    from amazon.opentelemetry.distro.llo_handler import LLOHandler
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

    logs, loggers = InMemoryLogRecordExporter(), LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
    kept = LLOHandler(loggers).process_spans(spans)
    rows = [
        {
            **{
                "resource": {"attributes": dict(span.resource.attributes)},
                "scope": {"name": span.instrumentation_scope.name},
            },
            **{"traceId": f"{span.context.trace_id:032x}", "spanId": f"{span.context.span_id:016x}", "name": span.name},
            **{"kind": span.kind.name, "startTimeUnixNano": span.start_time, "endTimeUnixNano": span.end_time},
            **{"attributes": dict(span.attributes), "status": {"code": span.status.status_code.name}},
        }
        for span in kept
    ]
    for log in logs.get_finished_logs():
        record = log.log_record
        rows.append(
            {
                **{
                    "resource": {"attributes": dict(log.resource.attributes)},
                    "scope": {"name": "strands.telemetry.tracer"},
                },
                **{"timeUnixNano": record.timestamp, "observedTimeUnixNano": record.observed_timestamp},
                **{"severityNumber": 9, "severityText": "", "body": record.body, "attributes": dict(record.attributes)},
                **{"flags": 1, "traceId": f"{record.trace_id:032x}", "spanId": f"{record.span_id:016x}"},
            }
        )
    return rows


if __name__ == "__main__":
    if os.environ.get("MAKE"):
        make(os.environ["MAKE"])
    else:
        for each in sys.argv[1:] or list(MODES):
            environment = {**os.environ, **MODES[each], "MAKE": each}
            subprocess.run([sys.executable, __file__], env=environment, check=True)
