import json
from pathlib import Path

import pytest
from rows_of import TOOL, assistant, call, read, read_one, result, user

from calltune.data.sources import chat_jsonl
from calltune.types import Example, Message, Preference, Rejected, ToolCall

CALLED = assistant(None, tool_calls=[call("it")])
# TRL keeps arguments as objects, and names no ids.
TRL_CALL = {"type": "function", "function": {"name": "find", "arguments": {"what": "it"}}}
FOUND = (ToolCall("find", {"what": "it"}),)


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL])])
def test_messages_are_an_example_for_each_answer(tmp_path: Path, tools: object) -> None:
    row = {
        "messages": [user(), assistant(None, tool_calls=[TRL_CALL]), result("r"), assistant("Done.")],
        "tools": tools,
    }
    first, second = read(chat_jsonl, tmp_path / "rows.jsonl", [row])
    assert isinstance(first, Example)
    assert first.messages[-1].tool_calls == FOUND
    assert second.messages[-1].content == "Done."
    assert first.tools[0].name == "find"
    last = read_one(chat_jsonl, tmp_path / "rows.jsonl", row, turns="last")
    assert last == second


def test_of_prompt_and_completion_only_the_completion_is_learned(tmp_path: Path) -> None:
    row = {
        "prompt": [user(), assistant("Hi."), user("Find it.")],
        "completion": [CALLED, result("r"), assistant("Done.")],
    }
    first, second = read(chat_jsonl, tmp_path / "rows.jsonl", [row])
    assert (first.messages[-1].tool_calls, second.messages[-1].content) == (FOUND, "Done.")
    assert (first.id[-2:], second.id[-2:]) == ("#2", "#3")


def test_a_broken_completion_says_how_many_answers_go_with_it(tmp_path: Path) -> None:
    completion = [CALLED, result("r", "c9"), assistant("one"), user(), assistant("two")]
    row = {"prompt": [user(), assistant("Hi."), user()], "completion": completion}
    first, rejected = read(chat_jsonl, tmp_path / "rows.jsonl", [row])
    assert (first.id[-2:], rejected.id[-2:]) == ("#2", "#3")
    assert isinstance(rejected, Rejected)
    assert rejected.reason.endswith("'c9' answers no call of the message before it (later answers that go with it: 1)")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [user()], "chosen": [CALLED], "rejected": [assistant("No.")]},
        {"chosen": [user(), CALLED], "rejected": [user(), assistant("No.")]},
    ],
)
def test_pairs_with_their_prompt_or_a_common_beginning(tmp_path: Path, row: dict) -> None:
    pair = read_one(chat_jsonl, tmp_path / "rows.json", {**row, "tools": [TOOL]})
    assert isinstance(pair, Preference)
    assert pair.prompt == (Message("user", "q"),)
    assert (pair.chosen.tool_calls, pair.rejected.content, pair.behavior) == (FOUND, "No.", "tool_call")
    assert pair.id == f"{tmp_path / 'rows.json'}:1"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "'messages' is missing"),
        ({"prompt": [user()]}, "'completion' is missing"),
        ({"prompt": "text", "completion": "text"}, "'prompt' must be list, not str"),
        ({"prompt": [user()], "completion": [user()]}, "no message is an answer"),
        ({"chosen": [user(), assistant()]}, "'rejected' is missing"),
        ({"chosen": [user(), assistant()], "rejected": [user(), assistant()]}, "'chosen' and 'rejected' are the same"),
        ({"chosen": [assistant("x")], "rejected": [assistant("y")]}, "no message of the user stands before"),
        (
            {"chosen": [user(), assistant("x"), user(), assistant()], "rejected": [user(), assistant("y")]},
            "'chosen' must hold one answer after the prompt, not 3 messages",
        ),
        (
            {"prompt": [user()], "chosen": [user("x")], "rejected": [assistant()]},
            "must be the assistant's, not the user's",
        ),
        ({"prompt": [user(), assistant()], "chosen": [assistant("x")], "rejected": [assistant()]}, "must end before"),
        ({"messages": [user(), assistant()], "tools": 3}, "tools must be a list of tools, not int"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, row: dict, reason: str) -> None:
    file = tmp_path / "rows.jsonl"
    rejected = read_one(chat_jsonl, file, row)
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(f"{file}:1: ")
    assert reason in rejected.reason
