"""One scripted agent, recorded by the SDKs and exporters of many vendors: all files give the same training rows."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scripted_agent import CONVERSATIONS, SYSTEM, TOOLS, answered

from calltune.calling.edits import changes_told_to
from calltune.data.sources import auto
from calltune.data.sources.chat_messages import read_turns
from calltune.data.sources.conversations import read_tools
from calltune.data.sources.turns import messages_of
from calltune.types import Example, Message

FOLDER = Path(__file__).parents[2] / "material" / "traces" / "agents"
FILES = sorted(FOLDER.iterdir())
OFFERED = read_tools(TOOLS, "tools")
LOGS = ("anthropic_messages", "bedrock_converse", "google_genai", "langchain_dumps", "openai_chat", "openai_responses")

NO_TOOLS = {
    "agentcore": "the older telemetry of Strands names its tools and no more",
    "openai_agents_spans": "the SDK's traces name an agent's tools and no more",
    "otel_botocore_events": "the conventions' events hold no tools",
    "otel_openai_v2": "this release does not record the tools that were offered",
    "otel_openai_v2_details": "this release does not record the tools that were offered",
    "otel_openai_v2_events": "the conventions' events hold no tools",
    "otel_openai_v2_events_otlp": "the conventions' events hold no tools",
    "otel_openai_v2_otlp": "this release does not record the tools that were offered",
    "strands_events": "the older telemetry of Strands names its tools and no more",
    "strands_session": "a session of Strands keeps no tools",
}
NO_SYSTEM = {"strands_session": "a session of Strands keeps no system text"}
BESIDE_CALLS = ("text and a call", "a streamed call")
LOST = {
    "mlflow_anthropic": (("streamed words", "a streamed call"), "MLflow records no stream of messages.create"),
    "otel_botocore_events": (BESIDE_CALLS, "the event of an answer loses its text beside calls"),
    "otel_openai_v2_events": (BESIDE_CALLS, "the event of an earlier answer loses its text beside calls"),
    "otel_openai_v2_events_otlp": (BESIDE_CALLS, "the event of an earlier answer loses its text beside calls"),
}


def row_of(messages: tuple[Message, ...]) -> str:
    """A training row's messages as text, to be compared and counted."""
    said = [[m.role, m.content, [[c.name, c.arguments] for c in m.tool_calls]] for m in messages]
    return json.dumps(said, ensure_ascii=False)


def conversation(messages: tuple[Message, ...]) -> str:
    asked = next(m.content for m in messages if m.role == "user")
    return next(name for name, known in CONVERSATIONS.items() if known[0]["content"] == asked)


def expected(name: str) -> Counter[str]:
    system = [] if name in NO_SYSTEM else [{"role": "system", "content": SYSTEM}]
    rows = Counter[str]()
    for title, messages in CONVERSATIONS.items():
        if title not in LOST.get(name, ((), ""))[0]:
            for before, answer in answered(messages):
                rows[row_of(tuple(messages_of(read_turns([*system, *before, answer], title), OFFERED)))] += 1
    return rows


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])
def test_the_same_agent_gives_the_same_rows(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = path.name.partition(".")[0]
    told = Counter[str]()

    def hear(_: str, what: str, changes: tuple[Any, ...]) -> None:
        told.update(change.kind for change in changes)

    with changes_told_to(hear):
        nouns = list(auto.read(auto.Settings(path=str(path))))
    lost = LOST.get(name, ((), ""))[0]
    examples = [n for n in nouns if isinstance(n, Example) and conversation(n.messages) not in lost]
    rows = Counter(row_of(example.messages) for example in examples)
    if name in LOGS:
        # Each request is a row of its own, and holds the answers before it too; the doctor finds the same rows.
        assert set(rows) == set(expected(name))
    else:
        assert rows == expected(name)
    assert all(example.tools == (() if name in NO_TOOLS else OFFERED) for example in examples)
    rejected = [noun for noun in nouns if not isinstance(noun, Example)]
    assert len(rejected) == (3 if name == "mlflow_anthropic" else 0), rejected[:1]
    assert "key_unread" not in told
    assert "(sure" in capsys.readouterr().out


def test_every_file_that_lacks_something_is_there_and_says_why() -> None:
    names = {path.name.partition(".")[0] for path in FILES}
    assert {*NO_TOOLS, *NO_SYSTEM, *LOST, *LOGS} <= names
    assert len(names) == 42


def test_what_is_met_again_and_what_asks_no_model_is_told() -> None:
    told = Counter[str]()
    with changes_told_to(lambda _, __, changes: told.update(change.kind for change in changes)):
        list(auto.read(auto.Settings(path=str(FOLDER / "strands.jsonl.gz"))))
    # 26 answers, of which 20 stand in a later span's history once or more; 14 agents, 26 cycles, 14 tools.
    assert told["repeated"] == 20
    assert told["span_unread"] == 14 + 26 + 14
