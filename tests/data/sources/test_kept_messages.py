"""Messages as frameworks keep them: for a screen (Vercel's SDK), and as a folder of files (Strands)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rows_of import TOOL, read, user
from telemetry_rows import PYDANTIC

from calltune.calling.edits import changes_told_to
from calltune.data.sources import auto, chat_jsonl, openai_traces
from calltune.errors import DataError
from calltune.types import Example, Message, Rejected, ToolCall

X = Message("assistant", "", (ToolCall("find", {"what": "x"}),))
USED = {
    "type": "tool-find",
    "toolCallId": "c1",
    "state": "output-available",
    "input": {"what": "x"},
    "output": {"n": 1},
}
STEP = {"type": "step-start"}


def text(said: str, **beside: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **beside}


def screen(*parts: dict[str, Any], **beside: Any) -> dict[str, Any]:
    shown = {"id": "2", "role": "assistant", "parts": list(parts), **beside}
    return {"messages": [{"id": "1", "role": "user", "parts": [text("q")]}, shown], "tools": [TOOL]}


DYNAMIC = {**USED, "type": "dynamic-tool", "toolName": "find"}
OLD = {"toolCallId": "c1", "toolName": "find", "args": {"what": "x"}, "state": "result", "result": {"n": 1}}
SHOWN = {
    "parts of a tool": screen(STEP, USED, STEP, text("One.")),
    "of any tool": screen(STEP, DYNAMIC, STEP, text("One.", state="done")),
    "invocations": screen(STEP, {"type": "tool-invocation", "toolInvocation": OLD}, STEP, text("One.")),
    "invocations beside the text": {
        "messages": [user(), {"role": "assistant", "content": "One.", "toolInvocations": [OLD]}],
        "tools": [TOOL],
    },
    "with thoughts, sources and data": screen(
        *(STEP, {"type": "reasoning", "text": "Hm."}, USED, STEP, {"type": "source-url", "url": "u"}),
        *({"type": "data-weather", "data": {"a": 1}}, text("One.")),
    ),
}


@pytest.mark.parametrize("title", SHOWN)
def test_one_message_for_a_screen_is_all_of_its_steps(tmp_path: Path, title: str) -> None:
    for source in (openai_traces, chat_jsonl):
        first, second = read(source, tmp_path / "rows.jsonl", [SHOWN[title]])
        assert isinstance(second, Example)
        assert first.messages == second.messages[:2] == (Message("user", "q"), X)
        assert second.messages[2:] == (Message("tool", '{"n": 1}'), Message("assistant", "One."))


def test_what_is_not_for_the_model_is_told(tmp_path: Path) -> None:
    told = Counter[str]()
    with changes_told_to(lambda _, __, changes: told.update(change.kind for change in changes)):
        read(openai_traces, tmp_path / "rows.jsonl", [SHOWN["with thoughts, sources and data"]])
    assert told == {"text_dropped": 3}


def test_parallel_calls_and_an_error_of_one_step(tmp_path: Path) -> None:
    failed = {**USED, "toolCallId": "c2", "state": "output-error", "errorText": "ERROR: none"}
    _, last = read(openai_traces, tmp_path / "rows.jsonl", [screen(STEP, USED, failed, STEP, text("One."))])
    assert [len(m.tool_calls) for m in last.messages] == [0, 2, 0, 0, 0]
    assert [m.content for m in last.messages[2:4]] == ['{"n": 1}', "ERROR: none"]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([STEP, {**USED, "state": "input-streaming"}], "had not arrived as a whole: its state is 'input-streaming'"),
        ([STEP, text("On", state="streaming")], "a part had not arrived as a whole: its state is 'streaming'"),
        ([STEP, {"type": "file", "mediaType": "image/png", "url": "u"}], "a part of type 'file'"),
        ([STEP, {**USED, "input": [1]}], "'input' must be"),
    ],
)
def test_a_message_that_had_not_arrived_is_rejected(tmp_path: Path, parts: list[Any], reason: str) -> None:
    (rejected,) = read(openai_traces, tmp_path / "rows.jsonl", [screen(*parts)])
    assert isinstance(rejected, Rejected)
    assert reason in rejected.reason


WAITING = {**USED, "state": "input-available", "output": None}


def test_a_call_that_waits_for_its_result_is_an_answer_and_no_step_follows_it(tmp_path: Path) -> None:
    (last,) = read(openai_traces, tmp_path / "rows.jsonl", [screen(STEP, WAITING)])
    assert last.messages[-1] == X
    (rejected,) = read(openai_traces, tmp_path / "rows.jsonl", [screen(STEP, WAITING, STEP, text("One."))])
    assert "a step goes on though a call before it has no result" in rejected.reason


def test_pydantic_ai_s_requests_and_responses(tmp_path: Path) -> None:
    request, response = PYDANTIC["messages"]
    back = {"part_kind": "tool-return", "tool_name": "find", "tool_call_id": "c1", "content": {"n": 1}}
    retry = {"part_kind": "retry-prompt", "tool_name": None, "content": "Be short."}
    done = {"kind": "response", "parts": [{"part_kind": "text", "content": "One."}], "finish_reason": "stop"}
    messages = [
        {**request, "parts": request["parts"][1:], "instructions": "Be brief."},
        *(response, {"kind": "request", "parts": [back], "instructions": "Be brief."}, done),
        *({"kind": "request", "parts": [retry]}, {**done, "state": "interrupted"}),
    ]
    first, second, rejected = read(openai_traces, tmp_path / "rows.jsonl", [{**PYDANTIC, "messages": messages}])
    assert first.messages == (Message("system", "Be brief."), Message("user", "q"), X)
    assert second.messages[3:] == (Message("tool", '{"n": 1}'), Message("assistant", "One."))
    assert "its record says 'incomplete'" in rejected.reason
    media = {"kind": "request", "parts": [{"part_kind": "builtin-file", "content": "AA"}]}
    (rejected,) = read(openai_traces, tmp_path / "rows.jsonl", [{"messages": [media, done]}])
    assert "a part of kind 'builtin-file'; only text can be learned" in rejected.reason


def session(folder: Path, name: str, *messages: dict[str, Any]) -> Path:
    agent = folder / f"session_{name}" / "agents" / "agent_a"
    (agent / "messages").mkdir(parents=True)
    (agent.parents[1] / "session.json").write_text(json.dumps({"session_id": name, "session_type": "AGENT"}))
    (agent / "agent.json").write_text(json.dumps({"agent_id": "a", "conversation_manager_state": {"n": 0}}))
    for number, message in enumerate(messages):
        kept = {"message": message, "message_id": number, "redact_message": None}
        (agent / "messages" / f"message_{number}.json").write_text(json.dumps(kept))
    return agent


def blocks(role: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(content)}


USE = {"toolUse": {"toolUseId": "1", "name": "find", "input": {"what": "x"}}}
TALK = [
    *(blocks("user", {"text": "q"}), blocks("assistant", USE)),
    *(
        blocks("user", {"toolResult": {"toolUseId": "1", "content": [{"text": "r"}]}}),
        blocks("assistant", {"text": "1"}),
    ),
    *(
        message
        for n in range(5)
        for message in (blocks("user", {"text": f"{n}?"}), blocks("assistant", {"text": f"{n}!"}))
    ),
]


def test_a_session_is_one_row_in_the_order_of_its_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = session(tmp_path, "s", *TALK)
    session(tmp_path, "t", *TALK[:2])
    told = list[Any]()
    with changes_told_to(lambda where, _, changes: told.append((where, [change.path for change in changes]))):
        nouns = list(auto.read(auto.Settings(path=str(tmp_path))))
    assert [len(noun.messages) for noun in nouns if isinstance(noun, Example)] == [2, 4, 6, 8, 10, 12, 14, 2]
    # The tenth message comes behind the second.
    assert [message.content for message in nouns[6].messages][-4:] == ["3?", "3!", "4?", "4!"]
    assert nouns[0].id == f"{agent}:1#1"
    assert told[0] == (str(tmp_path), ["/session_s/session.json", "/session_t/session.json"])
    assert capsys.readouterr().out.splitlines()[0].startswith(f"{agent}: a session of Strands (sure: 1 of its 1 row)")
    for place in (agent, agent.parents[1]):
        assert list(openai_traces.read(openai_traces.Settings(path=str(place)))) == nouns[:7]


def test_a_session_s_fingerprint_is_that_of_all_its_messages(tmp_path: Path) -> None:
    agent = session(tmp_path, "s", *TALK)
    settings = openai_traces.Settings(path=str(tmp_path))
    before = openai_traces.fingerprint(settings)
    (agent / "messages" / "message_3.json").write_text("{}")
    assert openai_traces.fingerprint(settings) != before


def test_what_strands_redacted_is_not_read(tmp_path: Path) -> None:
    agent = session(tmp_path, "s", *TALK[:4])
    file = agent / "messages" / "message_0.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "redact_message": blocks("user", {"text": "[redacted]"})})
    )
    nouns = list(openai_traces.read(openai_traces.Settings(path=str(tmp_path))))
    assert {noun.messages[0].content for noun in nouns if isinstance(noun, Example)} == {"[redacted]"}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("messages/message_1.json", None, "its message 1 is missing"),
        ("messages/message_1.json", "{", "message_1.json: not valid JSON"),
        ("messages/message_1.json", '{"message_id": 0}', "message_1.json: 'message_id' must be a number of its own"),
        ("messages/message_1.json", "[]", "message_1.json must hold an object, not list"),
        ("agent.json", "3", "agent.json must hold an object, not int"),
    ],
)
def test_a_damaged_session_is_rejected_as_a_whole(tmp_path: Path, name: str, data: str | None, reason: str) -> None:
    agent = session(tmp_path, "s", *TALK)
    (agent / name).unlink() if data is None else (agent / name).write_text(data)
    (rejected,) = openai_traces.read(openai_traces.Settings(path=str(tmp_path)))
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(f"{agent}:1: ")
    assert reason in rejected.reason
    with pytest.raises(DataError, match="none of the first 1 rows is an object"):
        list(auto.read(auto.Settings(path=str(tmp_path))))
