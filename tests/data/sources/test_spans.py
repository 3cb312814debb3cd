"""Spans, observations and runs: every convention gives one row, none is learned twice, and what is lost is said."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rows_of import TOOL, assistant, call, read, result, user
from telemetry_rows import (
    AGENTS_SPAN,
    ANSWER,
    ASKED,
    ATTRIBUTES,
    CALLED,
    CHAT,
    GENERATION,
    OBSERVED,
    REQUEST,
    RUN,
    SPANS,
    span,
)

from calltune.calling.edits import changes_told_to
from calltune.data.doctor.changes import ChangeLog
from calltune.data.sources import auto, openai_traces
from calltune.types import Example, Message, Rejected, ToolCall

FIND = ToolCall("find", {"what": "x"})
ONE = (Message("system", "Be brief."), Message("user", "q"), Message("assistant", "", (FIND,)))


def heard(file: Path, rows: list[Any], **keys: Any) -> tuple[list[Any], Counter[str]]:
    told = Counter[str]()
    with changes_told_to(lambda _, __, changes: told.update(change.kind for change in changes)):
        return read(openai_traces, file, rows, **keys), told


@pytest.mark.parametrize("title", [*SPANS, *OBSERVED])
def test_every_convention_gives_the_same_row(tmp_path: Path, title: str) -> None:
    row = {**SPANS, **OBSERVED}[title]
    nouns, told = heard(tmp_path / "rows.jsonl", [row])
    (one,) = nouns
    assert isinstance(one, Example), one
    assert one.messages == ONE
    if "object" not in row:
        # The Agents SDK's spans hold no tools.
        assert [(tool.name, tool.parameters) for tool in one.tools] == [("find", TOOL["function"]["parameters"])]
    assert one.id == f"{tmp_path / 'rows.jsonl'}:1#1"
    assert told["span_unread"] == ("observations" in row or "child_runs" in row)
    assert read(auto, tmp_path / "rows.jsonl", [row]) == [one]


def conversation(*messages: dict[str, Any], **beside: Any) -> dict[str, Any]:
    """A generation whose answer is the last message."""
    return {**GENERATION, "input": {"messages": list(messages[:-1]), "tools": [TOOL]}, "output": messages[-1], **beside}


TALK = [
    user("q"),
    assistant(None, tool_calls=[call("x")]),
    result("r"),
    assistant("Here."),
    user("Thanks."),
    assistant("!"),
]


def test_an_answer_that_stands_in_later_spans_is_learned_once(tmp_path: Path) -> None:
    rows = [conversation(*TALK[:n], id=str(n)) for n in (2, 4, 6)]
    nouns, told = heard(tmp_path / "rows.jsonl", rows)
    assert [len(noun.messages) for noun in nouns] == [2, 4, 6]
    assert told["repeated"] == 3
    # Each row twice, as where two libraries record one request.
    nouns, told = heard(tmp_path / "rows.jsonl", rows * 2)
    assert [len(noun.messages) for noun in nouns] == [2, 4, 6]
    assert told["repeated"] == 9


def test_what_is_told_of_spans_is_a_line_for_each_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with ChangeLog() as log, changes_told_to(log.hear):
        read(openai_traces, file, [*(conversation(*TALK[:n]) for n in (2, 4)), {**GENERATION, "type": "AGENT"}])
    assert not log.kinds
    assert log.notes() == [
        f"{file}: answers stand in later spans too, and are taken once (1)",
        f"{file}: spans of agents and tools, which ask no model, are not read (1)",
    ]


def test_answers_whose_own_span_is_missing_are_learned_from_the_last(tmp_path: Path) -> None:
    nouns, told = heard(tmp_path / "rows.jsonl", [conversation(*TALK)])
    assert [len(noun.messages) for noun in nouns] == [2, 4, 6]
    assert not told["repeated"]


def test_the_last_answer_of_each_conversation(tmp_path: Path) -> None:
    rows = [conversation(*TALK[:n]) for n in (2, 4, 6)] + [conversation(user("Else?"), assistant("No."))]
    nouns, _ = heard(tmp_path / "rows.jsonl", rows, turns="last")
    assert [noun.messages[-1].content for noun in nouns] == ["!", "No."]


def test_an_answer_that_was_cut_off_is_not_learned_from_a_later_history(tmp_path: Path) -> None:
    cut = conversation(user("q"), assistant("Once upon a", finish_reason="length"))
    later = conversation(user("q"), assistant("Once upon a"), user("Go on."), assistant("time.", finish_reason="stop"))
    first, second = read(openai_traces, tmp_path / "rows.jsonl", [cut, later])
    assert isinstance(first, Rejected)
    assert "the answer was cut off" in first.reason
    assert second.messages[-1].content == "time."


def test_a_system_text_that_tells_the_time_makes_no_other_conversation(tmp_path: Path) -> None:
    rows = [conversation({"role": "system", "content": f"It is {n} o'clock."}, *TALK[: n + 1]) for n in (1, 3)]
    nouns, told = heard(tmp_path / "rows.jsonl", rows)
    assert [noun.messages[0].content for noun in nouns] == ["It is 1 o'clock.", "It is 3 o'clock."]
    assert told["repeated"] == 1


FAILED = {"status": {"status_code": "ERROR", "description": "too many requests"}}
NO_ANSWER = {key: text for key, text in ATTRIBUTES.items() if key != "gen_ai.output.messages"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (span(CHAT), "it holds no messages: the texts of requests were not captured"),
        (span(CHAT, ("gen_ai.user.message", {}), ("gen_ai.choice", {"message": {}})), "were not captured"),
        (span(NO_ANSWER), "span 'chat': it holds no answer"),
        (span(NO_ANSWER, **FAILED), "span 'chat': it failed: too many requests"),
        (span({"gen_ai.operation.name": "execute_tool"}), "no span of its trace is a question to a model"),
        (
            span({**ATTRIBUTES, "gen_ai.output.messages": json.dumps([CALLED, CALLED])}),
            "'gen_ai.output.messages' must hold one answer, not 2",
        ),
        (
            span({**ATTRIBUTES, "gen_ai.output.messages": json.dumps([{**CALLED, "finish_reason": "length"}])}),
            "the answer was cut off",
        ),
        (span({**ATTRIBUTES, "gen_ai.input.messages": '[{"role": "user"'}), "gen_ai.input.messages: not valid JSON"),
        (
            span({**ATTRIBUTES, "gen_ai.input.messages": [{**ASKED, "parts": [{"type": "blob", "content": "AA"}]}]}),
            "a part of type 'blob'; only text can be learned",
        ),
        ({"resourceSpans": [{"scopeSpans": [{"spans": [3]}]}]}, "spans[0] must be an object, not int"),
        ({"resourceSpans": [{"scopeSpans": "s"}]}, "scopeSpans must be a list, not str"),
        ({**GENERATION, "level": "ERROR", "statusMessage": "no quota", "output": None}, "it failed: no quota"),
        ({**GENERATION, "output": None}, "it holds no answer"),
        ({**GENERATION, "input": "Tell me."}, "its input is no list of messages"),
        ({**GENERATION, "type": "TOOL"}, "no span of its trace is a question to a model"),
        ({**RUN, "error": "TimeoutError()\nTraceback", "outputs": None}, "it failed: TimeoutError()"),
        ({**RUN, "outputs": None}, "it holds no answer"),
        ({**AGENTS_SPAN, "error": {"message": "no quota"}}, "it failed: {'message': 'no quota'}"),
        ({**AGENTS_SPAN, "span_data": {"type": "response", "response_id": "r"}}, "are kept by the service alone"),
        ({**AGENTS_SPAN, "span_data": {"type": "agent"}}, "no span of its trace is a question to a model"),
        ({**RUN, "outputs": {"generations": [[{"message": {}}, {"message": {}}]]}}, "must hold one answer, not 2"),
    ],
)
def test_a_span_without_a_whole_answer_is_rejected(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    (rejected,) = read(openai_traces, tmp_path / "rows.jsonl", [row])
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(f"{tmp_path / 'rows.jsonl'}:1: ")
    assert reason in rejected.reason


def test_gemini_s_results_are_what_the_tool_said(tmp_path: Path) -> None:
    said = {"type": "tool_call_response", "id": "c1", "response": {"output": "r"}}
    asked = [ASKED, CALLED, {"role": "user", "parts": [said]}]
    done = [{"role": "assistant", "parts": [{"type": "text", "content": "Here."}], "finish_reason": "stop"}]
    for maker, expected in (("gcp.gemini", "r"), ("openai", '{"output": "r"}')):
        row = span(
            {**CHAT, "gen_ai.provider.name": maker, "gen_ai.input.messages": asked, "gen_ai.output.messages": done}
        )
        _, last = read(openai_traces, tmp_path / "rows.jsonl", [row])
        assert last.messages[2].content == expected


def test_a_failed_span_still_gives_the_answers_before_it(tmp_path: Path) -> None:
    row = conversation(*TALK[:3], assistant("late"), level="ERROR", statusMessage="broke off", output=None)
    first, rejected = read(openai_traces, tmp_path / "rows.jsonl", [row])
    assert first.messages[-1].tool_calls == (FIND,)
    assert "it failed: broke off" in rejected.reason


def test_log_records_and_tools_of_the_agent_find_their_span(tmp_path: Path) -> None:
    events = [("gen_ai.user.message", {"content": "q"}), ("gen_ai.choice", {"index": 0, "message": ANSWER})]
    logs = [
        {"body": said, "event_name": name, "trace_id": "0x1a", "span_id": "0x2b", "attributes": {}}
        for name, said in events
    ]
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.tool.definitions": ATTRIBUTES["gen_ai.tool.definitions"]}
    around = span(agent, context={"trace_id": "0x1a", "span_id": "0x3c"})
    asked = span({"gen_ai.operation.name": "chat"}, parent_id="0x3c")
    for rows in ([*logs, asked, around], [around, asked, *logs]):
        nouns, told = heard(tmp_path / "rows.jsonl", rows)
        assert [noun.messages for noun in nouns] == [ONE[1:]]
        assert [tool.name for tool in nouns[0].tools] == ["find"]
        assert told["span_unread"] == 1


def test_a_span_beside_that_of_the_client_s_own_is_no_second_question(tmp_path: Path) -> None:
    bare = span({**CHAT, "gen_ai.response.id": "r1"}, context={"trace_id": "0x9", "span_id": "0x8"})
    nouns, told = heard(tmp_path / "rows.jsonl", [bare, span({**ATTRIBUTES, "gen_ai.response.id": "r1"})])
    assert [noun.messages for noun in nouns] == [ONE]
    assert told["span_unread"] == 1


def aws(number: int, asked: list[Any], answered: list[Any], **beside: Any) -> list[dict[str, Any]]:
    """A span of a session and the record that AWS's distribution writes of it."""
    named = {"traceId": "1a", "spanId": f"{number}"}
    said = {"session.id": "s"}
    body = {"input": {"messages": asked}, "output": {"messages": answered}}
    return [
        {**named, "name": "chat", "startTimeUnixNano": number, "attributes": {**CHAT, **said}, **beside},
        {**named, "timeUnixNano": number, "severityNumber": 9, "body": body, "attributes": said},
    ]


def text_of(role: str, *blocks: dict[str, Any], key: str = "content", **beside: Any) -> dict[str, Any]:
    return {"role": role, "content": {key: json.dumps(blocks), **beside}}


Q, R1, R2 = (
    text_of("user", {"text": "q"}),
    *(text_of("tool", {"toolResult": {"toolUseId": n, "content": [{"text": n}]}}) for n in ("1", "2")),
)
USES = [{"toolUse": {"toolUseId": n, "name": "find", "input": {"what": n}}} for n in ("1", "2")]
CALL_1, CALL_2 = (text_of("assistant", use, key="message", finish_reason="tool_use") for use in USES)
DONE = text_of("assistant", {"text": "Both."}, key="message", finish_reason="end_turn")
# The distribution keeps the last message of each kind: the third record lacks the first call and its result.
RECORDS = [
    aws(1, [Q], [CALL_1]),
    aws(2, [Q, R1], [text_of("assistant", USES[0]), CALL_2]),
    aws(3, [Q, R2], [text_of("assistant", USES[1]), DONE]),
]


def test_the_messages_that_aws_s_records_lack_come_from_those_before(tmp_path: Path) -> None:
    nouns = read(openai_traces, tmp_path / "rows.jsonl", [row for record in RECORDS for row in record])
    assert [len(noun.messages) for noun in nouns] == [2, 4, 6]
    assert [m.content or m.tool_calls[0].arguments["what"] for m in nouns[2].messages] == [
        "q",
        "1",
        "1",
        "2",
        "2",
        "Both.",
    ]


@pytest.mark.parametrize("kept", [(2,), (1, 2), (0, 2)])
def test_without_those_before_nothing_is_learned_from_aws_s_record(tmp_path: Path, kept: tuple[int, ...]) -> None:
    nouns = read(openai_traces, tmp_path / "rows.jsonl", [row for number in kept for row in RECORDS[number]])
    last = nouns[-1]
    assert isinstance(last, Rejected)
    assert "AWS's log record keeps the last message of each kind" in last.reason


def test_aws_s_record_without_its_span_may_be_an_agent_s(tmp_path: Path) -> None:
    (rejected,) = read(openai_traces, tmp_path / "rows.jsonl", [RECORDS[0][1]])
    assert "its span is not among the rows, so it may be an agent's" in rejected.reason


def test_a_log_of_requests_that_names_its_trace_is_no_observation(tmp_path: Path) -> None:
    row = {"trace_id": "t", "type": "chat.request", "input": REQUEST, "output": ANSWER}
    (one,) = read(openai_traces, tmp_path / "rows.jsonl", [row])
    assert one.messages == ONE


def test_cloudwatch_s_export_has_the_time_before_each_record(tmp_path: Path) -> None:
    file = tmp_path / "000000.jsonl"
    file.write_text(f"2026-11-27T10:00:00.000Z {json.dumps(SPANS['CloudWatch'])}\n2026-11-27T10:00:01.000Z {{\n")
    rejected, one = openai_traces.read(openai_traces.Settings(path=str(file)))
    assert one.messages == ONE
    assert isinstance(rejected, Rejected)


def test_the_console_s_output_and_an_export_as_a_table_are_read(tmp_path: Path) -> None:
    spans = tmp_path / "console.json"
    spans.write_text("\n".join(json.dumps(span(ATTRIBUTES), indent=4) for _ in range(2)))
    table = tmp_path / "langfuse.csv"
    cells = {"id": "g1", "traceId": "t1", "type": "GENERATION", "startTime": "2026", "input": REQUEST, "output": ANSWER}
    quoted = ['"' + (v if isinstance(v, str) else json.dumps(v)).replace('"', '""') + '"' for v in cells.values()]
    table.write_text(f"{','.join(cells)}\n{','.join(quoted)}\n")
    for file in (spans, table):
        (one,) = auto.read(auto.Settings(path=str(file)))
        assert isinstance(one, Example)
        assert one.messages == ONE
