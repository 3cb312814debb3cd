"""Traces of an agent: requests and answers as they are logged, and traces exported from MLflow.

A row is one of: `messages` (and `tools`, or the older `functions`), with the answer among them or beside them; a
request and its response in any of the layouts of `records`; `input`, `preferred_output` and `non_preferred_output`,
OpenAI's layout for preference fine-tuning; an MLflow trace, see `mlflow_traces`; or a span of OpenTelemetry, an
observation of Langfuse or a run of LangSmith, see `span_answers`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from calltune.data.sources.chat_messages import read_turns
from calltune.data.sources.columns import with_columns
from calltune.data.sources.conversations import answers_of, preference_of
from calltune.data.sources.files import Noun, nouns_of, read_rows
from calltune.data.sources.mcp_tools import ToolSettings, offered_tools, source_fingerprint
from calltune.data.sources.mlflow_traces import is_trace, trace_answers
from calltune.data.sources.offers import offered_in_text
from calltune.data.sources.pairs import pair_of
from calltune.data.sources.records import conversation_of, request_turns, tools_of
from calltune.data.sources.span_answers import SpanReader
from calltune.data.sources.turns import answer_of, messages_of
from calltune.files.json_lines import require
from calltune.types import Message, Preference, Tool


class Settings(ToolSettings):
    """The keys of an `openai_traces` source."""


def read(settings: Settings) -> Iterator[Noun]:
    """Yield an example of each answer, a pair of each preference row, and what cannot be used.

    Raises:
        DataError: a file is missing or not JSON as a whole.
    """
    offered = offered_tools(settings)

    spans = SpanReader(offered, settings.turns)

    def parse(raw: dict[str, Any], where: str) -> Iterator[Noun]:
        if is_trace(raw):
            yield from trace_answers(raw, where, offered, settings.turns)
            return
        row = with_columns(raw, where)
        if "preferred_output" in row:
            yield _preference(row, where, offered)
            return
        if "chosen" in row and "rejected" in row:
            yield pair_of(row, where, "openai_traces", read_turns, offered)
            return
        turns, tools = offered_in_text(*conversation_of(row, where, offered))
        yield from answers_of(turns, tools, settings.turns, ("openai_traces", where, raw))

    return chain(nouns_of(spans.others(read_rows(settings.path)), "openai_traces", parse), spans.nouns())


def fingerprint(settings: Settings) -> str:
    """Return the hash of the files and of the tools."""
    return source_fingerprint(settings)


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """None: all of its rows are trained on."""
    return iter(())


def _preference(row: Mapping[str, Any], where: str, offered: Sequence[Tool]) -> Preference:
    request = require(row, "input", dict, where)
    tools = tools_of((request, row), where) or offered
    prompt = messages_of(request_turns(request, where, row), tools)
    answers = (_only(row, "preferred_output", tools, where), _only(row, "non_preferred_output", tools, where))
    return preference_of("openai_traces", where, prompt, tools, answers)


def _only(row: Mapping[str, Any], key: str, tools: Sequence[Tool], where: str) -> Message:
    turns = read_turns(require(row, key, list, where), f"{where}: {key}")
    return answer_of(turns, tools, f"{where}: '{key}'", is_worse=key == "non_preferred_output")
