import json
import re
from pathlib import Path
from typing import Any

import pytest
from rows_of import TOOL, assistant, call, read, read_one, result, user

from calltune.calling.edits import changes_told_to
from calltune.data.sources import openai_traces
from calltune.errors import DataError
from calltune.types import Example, Message, Preference, Rejected, ToolCall

TRACE = [
    {"role": "developer", "content": "Be brief."},
    user([{"type": "text", "text": "Find "}, {"type": "text", "text": "it."}]),
    assistant(None, tool_calls=[call("it")]),
    result("found"),
    assistant("Here it is."),
    user("And x and y?"),
    assistant("", tool_calls=[call("x", "c2"), call("y", "c3")]),
    result("no y", "c3"),
    result("no x", "c2"),
    assistant("I can't find them."),
]
FOUND = ToolCall("find", {"what": "it"})


def test_one_example_for_each_answer_with_all_before_it(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    rows = read(openai_traces, file, [{"messages": TRACE, "tools": [TOOL], "parallel_tool_calls": True}])
    examples = [row for row in rows if isinstance(row, Example)]
    assert [e.id for e in examples] == [f"{file}:1#{turn}" for turn in (1, 2, 3, 4)]
    assert [e.behavior for e in examples] == ["tool_call", "direct", "tool_call", "cannot_answer"]
    assert [len(e.messages) for e in examples] == [3, 5, 7, 10]
    assert all(e.messages == examples[-1].messages[: len(e.messages)] for e in examples)
    assert examples[0].messages == (
        Message("system", "Be brief."),
        Message("user", "Find it."),
        Message("assistant", "", (FOUND,)),
    )
    assert [tool.name for tool in examples[0].tools] == ["find"]


def test_results_of_parallel_calls_stand_in_the_order_of_the_calls(tmp_path: Path) -> None:
    last = read_one(openai_traces, tmp_path / "log.jsonl", {"messages": TRACE, "tools": [TOOL]}, turns="last")
    assert last.id.endswith(":1#4")
    assert [m.content for m in last.messages if m.role == "tool"] == ["found", "no x", "no y"]


def test_the_older_layout_of_calls(tmp_path: Path) -> None:
    older = {
        "messages": [
            user(),
            assistant(None, function_call={"name": "find", "arguments": '{"what": "it"}'}),
            {"role": "function", "name": "find", "content": "found"},
            assistant("Done."),
        ],
        "functions": [TOOL["function"]],
    }
    first, second = read(openai_traces, tmp_path / "log.jsonl", [older])
    assert first.messages[-1].tool_calls == (FOUND,)
    assert second.messages[2] == Message("tool", "found")
    assert first.tools[0].name == "find"


def test_tools_from_a_file_for_rows_that_name_none(tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([TOOL]))
    other = {"type": "function", "function": {"name": "other"}}
    rows = [{"messages": TRACE[:3]}, {"messages": TRACE[:3], "tools": [other]}]
    first, second = read(openai_traces, tmp_path / "log.jsonl", rows, tools=str(tools))
    assert [first.tools[0].name, second.tools[0].name] == ["find", "other"]
    tools.write_text("[]")
    with pytest.raises(DataError, match=r"tools\.json: holds no tools"):
        read(openai_traces, tmp_path / "log.jsonl", rows, tools=str(tools))


def test_preference_rows(tmp_path: Path) -> None:
    row = {
        "input": {"messages": TRACE[:2], "tools": [TOOL], "parallel_tool_calls": True},
        "preferred_output": [assistant(None, tool_calls=[call("it")])],
        "non_preferred_output": [assistant("Which one?")],
    }
    pair = read_one(openai_traces, tmp_path / "pairs.jsonl", row)
    assert isinstance(pair, Preference)
    assert (pair.chosen.tool_calls, pair.rejected.content, pair.behavior) == ((FOUND,), "Which one?", "tool_call")
    same = read_one(openai_traces, tmp_path / "pairs.jsonl", {**row, "non_preferred_output": row["preferred_output"]})
    assert "the chosen and the rejected answer are the same" in same.reason


def test_an_answer_of_weight_zero_is_context_only(tmp_path: Path) -> None:
    messages = [user(), assistant("no", weight=0), user(), assistant("yes", weight=1)]
    example = read_one(openai_traces, tmp_path / "log.jsonl", {"messages": messages})
    assert (example.id[-4:], len(example.messages)) == (":1#2", 4)


def test_a_trace_keeps_the_answers_before_the_broken_one(tmp_path: Path) -> None:
    broken = [*TRACE[:6], assistant("", tool_calls=[{"function": {"name": "find", "arguments": "{"}}]), *TRACE[7:]]
    file = tmp_path / "log.jsonl"
    *kept, rejected = read(openai_traces, file, [{"messages": broken, "tools": [TOOL]}])
    assert [e.id for e in kept] == [f"{file}:1#1", f"{file}:1#2"]
    assert isinstance(rejected, Rejected)
    assert rejected.id == f"{file}:1#3"
    place = f"{file}:1: messages[6]: tool_calls[0].function: arguments: not valid JSON: "
    assert rejected.reason.startswith(place)
    assert rejected.reason.endswith("(later answers that go with it: 1)")
    assert rejected.row["messages"] == broken


def test_an_empty_answer_costs_only_itself(tmp_path: Path) -> None:
    nouns = read(openai_traces, tmp_path / "log.jsonl", [{"messages": [user(), assistant(""), user(), assistant("a")]}])
    assert [type(noun) for noun in nouns] == [Rejected, Example]
    assert nouns[0].reason.endswith("the answer has neither text nor calls")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (None, "'messages' must be list, not NoneType"),
        ([], "no message is an answer"),
        ([user()], "no message is an answer"),
        ([user(), assistant(weight=0)], "no message is an answer"),
        ([assistant()], "no message of the user stands before"),
        ([3, assistant()], r"messages\[0\]: a message must be an object"),
        ([{"role": "robot", "content": ""}, assistant()], "'role' must be one of .*, not 'robot'"),
        ([{"content": ""}], "'role' is missing"),
        ([{"role": "user"}, assistant()], "'content' is missing"),
        ([user(None), assistant()], "'content' must be str or list, not NoneType"),
        ([user([{"type": "image_url", "image_url": {}}]), assistant()], "a part of type 'image_url'; only text"),
        ([user(), assistant(tool_calls={})], "'tool_calls' must be a list"),
        ([user(), assistant(tool_calls=[3])], r"tool_calls\[0\]: a call must be an object"),
        ([user(), assistant(tool_calls=[{"function": {"name": "f"}}])], "'arguments' is missing"),
        ([user(), assistant(tool_calls=[{"function": {"name": "f", "arguments": "3"}}])], "must spell an object"),
        ([user(), assistant(tool_calls=[{"name": "", "arguments": {}}])], "'name' is empty"),
        ([user(), assistant(tool_calls=[call("x")]), result("r", "c9"), assistant()], "'c9' answers no call"),
        ([user(), assistant(weight=2)], "'weight' must be 0 or 1"),
    ],
)
def test_what_cannot_be_used_says_where_and_why(tmp_path: Path, messages: Any, reason: str) -> None:
    file = tmp_path / "log.jsonl"
    noun = read(openai_traces, file, [{"messages": messages, "tools": [TOOL]}])[-1]
    assert isinstance(noun, Rejected)
    assert noun.id.startswith(f"{file}:1")
    assert re.match(f"{re.escape(str(file))}:1: .*{reason}", noun.reason)


def test_thoughts_and_padding_are_dropped_and_told(tmp_path: Path) -> None:
    padded = {"function": {"name": "find", "arguments": {"what": "it", "other": None}}}
    messages = [user(), assistant(None, tool_calls=[padded], reasoning_content="Hm.")]
    told: list[tuple] = []
    with changes_told_to(lambda *change: told.append(change)):
        example = read_one(openai_traces, tmp_path / "log.jsonl", {"messages": messages, "tools": [TOOL]})
    assert example.messages[-1].tool_calls == (FOUND,)
    assert [(what, change.kind, change.path, change.before) for _, what, (change,) in told] == [
        ("message", "text_dropped", "/reasoning_content", "Hm."),
        ("tool_calls", "null_argument", "/tool_calls/0/arguments/other", None),
    ]
