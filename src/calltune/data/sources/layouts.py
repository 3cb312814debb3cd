"""Layouts that a source does not read, known by their marks: what they are, and what to do with them."""

from collections.abc import Mapping
from typing import Any


def layout_hint(row: Mapping[str, Any]) -> str:
    """Return what the layout of a row without `messages` is and how it is read, or an empty string."""
    for keys, hint in _HINTS:
        if keys <= row.keys():
            return hint
    if any(isinstance(key, str) and key.startswith("gen_ai.") for key in row):
        return _OPENTELEMETRY
    attributes = row.get("attributes")
    if isinstance(attributes, dict) and any(str(key).startswith(("gen_ai.", "llm.")) for key in attributes):
        return _OPENTELEMETRY
    return ""


_OPENTELEMETRY = (
    "this is a span of OpenTelemetry: write its input and output messages as 'messages' and 'response', or export from "
    "MLflow"
)
_HINTS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"conversations"}), 'this is ShareGPT\'s layout: read it with name = "sharegpt"'),
    (frozenset({"system", "chat"}), 'this is Glaive\'s layout: read it with name = "sharegpt"'),
    (frozenset({"query", "answers"}), 'this is xLAM\'s layout: read it with name = "xlam"'),
    (frozenset({"chosen", "rejected"}), 'this is a pair: read it with name = "chat_jsonl"'),
    (frozenset({"prompt", "completion"}), 'this is TRL\'s layout: read it with name = "chat_jsonl"'),
    (frozenset({"chosen_response"}), 'this is When2Call\'s layout: read it with name = "when2call"'),
    (frozenset({"instruction", "output"}), "this is Alpaca's layout, which holds no tools: write it as 'messages'"),
    (frozenset({"resourceSpans"}), f"{_OPENTELEMETRY} (OTLP)"),
    (
        frozenset({"run_type", "inputs"}),
        "this is a run of LangSmith: write its inputs' messages and its outputs as 'messages'",
    ),
    (
        frozenset({"observations"}),
        "this is a trace of Langfuse: export its generations, with 'input' and 'output'",
    ),
    (frozenset({"session_id", "message"}), "this is a session of Strands: write its messages, in order, as 'messages'"),
    (frozenset({"features", "homepage"}), "this describes a data set and is none"),
    (frozenset({"custom_id", "body"}), "this is a batch request without its answer"),
)
