"""Traces of an agent: chat completions as logged or as OpenAI fine-tunes on them, and traces exported from MLflow.

A row is one of: `messages` (and `tools`, or the older `functions`); `input`, `preferred_output` and
`non_preferred_output`, OpenAI's layout for preference fine-tuning; or an MLflow trace, see `mlflow_traces`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calltune.data.sources.chat_messages import count_answers, read_message, read_messages
from calltune.data.sources.conversations import ConversationSettings, answers_of, preference_of, read_tools
from calltune.data.sources.files import Noun, files_fingerprint, nouns_of, read_rows, read_whole
from calltune.data.sources.mlflow_traces import is_trace, trace_answers
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Message, Preference, Tool


class Settings(ConversationSettings):
    """The keys of an `openai_traces` source."""

    tools: str | None = None
    """A JSON file that holds the list of tools, for rows that name none."""


def read(settings: Settings) -> Iterator[Noun]:
    """Yield an example of each answer, a pair of each preference row, and what cannot be used.

    Raises:
        DataError: a file is missing or not JSON as a whole.
    """
    offered = read_tools(read_whole(settings.tools), settings.tools) if settings.tools else ()
    if settings.tools and not offered:
        raise DataError(f"{settings.tools}: holds no tools")

    def parse(row: dict[str, Any], where: str) -> Iterator[Noun]:
        if is_trace(row):
            yield from trace_answers(row, where, offered, settings.turns)
        elif "preferred_output" in row:
            yield _preference(row, where, offered)
        else:
            messages = require(row, "messages", list, where)
            yield from answers_of(
                read_messages(messages, f"{where}: messages"),
                row_tools(row, where) or offered,
                settings.turns,
                count_answers(messages),
                ("openai_traces", where, row),
            )

    return nouns_of(read_rows(settings.path), "openai_traces", parse)


def fingerprint(settings: Settings) -> str:
    """Return the hash of the files."""
    return files_fingerprint(settings.path, *([settings.tools] if settings.tools else []))


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """None: all of its rows are trained on."""
    return iter(())


def row_tools(row: Mapping[str, Any], where: str) -> tuple[Tool, ...]:
    """Return the tools that a row names, under the newer or the older key."""
    key = "functions" if row.get("tools") is None and "functions" in row else "tools"
    return read_tools(row.get(key), f"{where}: {key}")


def _preference(row: Mapping[str, Any], where: str, offered: Sequence[Tool]) -> Preference:
    request = require(row, "input", dict, where)
    prompt = [message for message, _ in read_messages(require(request, "messages", list, where), f"{where}: messages")]
    answers = (_only(row, "preferred_output", where), _only(row, "non_preferred_output", where))
    return preference_of("openai_traces", where, prompt, row_tools(request, where) or offered, answers)


def _only(row: Mapping[str, Any], key: str, where: str) -> Message:
    messages = require(row, key, list, where)
    if len(messages) != 1:
        raise DataError(f"{where}: '{key}' must hold one message, not {len(messages)}")
    return read_message(messages[0], f"{where}: {key}[0]")
