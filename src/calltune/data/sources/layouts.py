"""The layouts that rows of files have: which one a row has, told by its keys, and which sources read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calltune.data.sources.columns import with_columns
from calltune.data.sources.observations import is_agents_span, is_observation, is_run
from calltune.data.sources.spans import is_telemetry
from calltune.errors import DataError

REQUESTS = ("request", "input", "inputs", "body", "kwargs", "request_body")
_FILE_SOURCES = ("openai_traces", "chat_jsonl", "sharegpt", "xlam", "when2call")


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of rows.

    `title` is what it is called. `readers` are the sources that read it, the one it was made for first; where there is
    none, `advice` says what to do with it. `split` is the setting of that name which `when2call` reads it with.
    `alike` is a source some of whose own rows cannot be told from it.
    """

    title: str
    readers: tuple[str, ...] = ()
    advice: str = ""
    split: str = ""
    alike: str = ""

    @property
    def hint(self) -> str:
        """What the layout is and how it is read, in words that end a message."""
        return f"this is {self.title}{self.advice}" + (
            f': read it with name = "{self.readers[0]}"' if self.readers else ""
        )


_TRACE = Layout("an MLflow trace", ("openai_traces",))
_REQUEST = Layout("a request and its answer", ("openai_traces", "chat_jsonl"))
_PREFERRED = Layout("OpenAI's layout of preferences", ("openai_traces",))
_PAIR = Layout("a pair", ("chat_jsonl", "openai_traces"))
_MESSAGES_PAIR = Layout("a pair", ("chat_jsonl", "openai_traces", "sharegpt"))
_SHAREGPT_PAIR = Layout("LLaMA-Factory's pair", ("sharegpt",))
_COMPLETION = Layout("TRL's layout", ("chat_jsonl",))
_SHAREGPT = Layout("ShareGPT's layout", ("sharegpt",))
_GLAIVE = Layout("Glaive's layout", ("sharegpt",))
_XLAM = Layout("xLAM's layout", ("xlam",))
_WHEN2CALL_TEST = Layout("When2Call's test", ("when2call",), split="train_sft")
_WHEN2CALL_PAIR = Layout("When2Call's layout", ("when2call",), split="train_pref")
_MESSAGES = Layout("a chat's messages", ("openai_traces", "chat_jsonl"), alike="when2call")
_TELEMETRY = Layout("a span of OpenTelemetry", ("openai_traces",))
_SESSION = Layout("a session of Strands", ("openai_traces", "chat_jsonl"))
_LANGFUSE = Layout("an observation of Langfuse", ("openai_traces",))
_AGENTS_SDK = Layout("a span of OpenAI's Agents SDK", ("openai_traces",))
_LANGSMITH = Layout("a run of LangSmith", ("openai_traces",))
_BY_KEYS: tuple[tuple[frozenset[str], Layout], ...] = (
    (frozenset({"correct_answer", "answers"}), _WHEN2CALL_TEST),
    (frozenset({"chosen_response"}), _WHEN2CALL_PAIR),
    (frozenset({"input", "preferred_output"}), _PREFERRED),
    (frozenset({"conversations", "chosen", "rejected"}), _SHAREGPT_PAIR),
    (frozenset({"messages", "chosen", "rejected"}), _MESSAGES_PAIR),
    (frozenset({"chosen", "rejected"}), _PAIR),
    (frozenset({"messages", "conversation_manager_state"}), _SESSION),
    (frozenset({"messages"}), _MESSAGES),
    (frozenset({"conversations"}), _SHAREGPT),
    (frozenset({"prompt", "completion"}), _COMPLETION),
    (frozenset({"system", "chat"}), _GLAIVE),
    (frozenset({"query", "answers"}), _XLAM),
)
_UNREAD: tuple[tuple[frozenset[str], Layout], ...] = (
    (
        frozenset({"instruction", "output"}),
        Layout("Alpaca's layout", advice=", which holds no tools: write it as 'messages'"),
    ),
    (
        frozenset({"message", "message_id"}),
        Layout("a message of a session of Strands", advice=": name the folder of the session, or all sessions'"),
    ),
    (frozenset({"features", "homepage"}), Layout("the description of a data set", advice=", and holds no rows")),
    (frozenset({"custom_id", "body"}), Layout("a batch request", advice=" without its answer")),
)


def layout_of(raw: Mapping[str, Any]) -> Layout | None:
    """Return the layout of a row, or None for one that nobody knows. Keys that hold null are as if they were not there.

    When2Call's rows without pairs are like any chat's, and have that layout.
    """
    try:
        row = with_columns(raw, "row")
    except DataError:
        row = raw
    keys = frozenset(key for key, value in row.items() if value is not None)
    if span_layout := _span_layout(row):
        return span_layout
    if "messages" not in keys and _is_trace(row):
        return _TRACE
    named = next((layout for wanted, layout in _BY_KEYS if wanted <= keys), None)
    if named or request_place(row):
        return named or _REQUEST
    if "completion" in keys:
        return _COMPLETION
    return next((layout for wanted, layout in _UNREAD if wanted <= keys), None)


def _span_layout(row: Mapping[str, Any]) -> Layout | None:
    if row.get("messages") is not None:
        return None
    if is_telemetry(row):
        return _TELEMETRY
    if is_agents_span(row):
        return _AGENTS_SDK
    if is_run(row):
        return _LANGSMITH
    return _LANGFUSE if is_observation(row) else None


def is_span_row(row: Mapping[str, Any]) -> bool:
    """Return whether a row holds spans of OpenTelemetry, Langfuse, LangSmith or OpenAI's Agents SDK."""
    return _span_layout(row) is not None


def with_layout(reason: str, row: Mapping[str, Any], source: str) -> str:
    """Return why a source cannot read a row, with the row's layout where that is another source's, or nobody's."""
    layout = layout_of(row) if source in _FILE_SOURCES else None
    return reason if layout is None or source in (*layout.readers, layout.alike) else f"{reason}; {layout.hint}"


def request_place(row: Mapping[str, Any]) -> str:
    """Return where a row holds a request to a model; its columns of JSON text have been read.

    That is `log` for a record of Amazon Bedrock's model-invocation log, `row` for the row itself, a key of `REQUESTS`
    for that object, `items` and `text` for the Responses API's own `input`, and an empty string where there is none.
    """
    if row.get("schemaType") == "ModelInvocationLog" or holds(row.get("input"), "inputBodyJson", "inputBodyS3Path"):
        return "log"
    if isinstance(row.get("messages"), list) or isinstance(row.get("contents"), list):
        return "row"
    for key in REQUESTS:
        if holds(row.get(key), "messages", "contents", "input", "body"):
            return key
    if isinstance(row.get("input"), list) and row["input"]:
        return "items"
    output = row.get("output", row.get("response"))
    output = output.get("output") if isinstance(output, dict) else output
    return "text" if isinstance(row.get("input"), str) and isinstance(output, list) else ""


def holds(value: Any, *keys: str) -> bool:
    """Return whether a value is an object with one of the keys."""
    return isinstance(value, dict) and any(value.get(key) is not None for key in keys)


def _is_trace(row: Mapping[str, Any]) -> bool:
    text, data = row.get("trace"), row.get("data")
    if isinstance(text, str) and text.lstrip().startswith("{"):
        return True
    return isinstance(row.get("spans"), list) or (isinstance(data, dict) and "spans" in data)
