"""One conversation, however it was logged, is the same lessons; what was not meant to be taught is not."""

import json
from pathlib import Path
from typing import Any

import pytest
from logged import PARALLEL, X, Y, text_of
from rows_of import TOOL, assistant, call, read, result, user

from calltune.calling.edits import changes_told_to
from calltune.data.sources import chat_jsonl, openai_traces, sharegpt, when2call, xlam
from calltune.data.sources.thoughts import thoughts_kept
from calltune.types import Example, Message, Preference, Rejected, ToolCall


def turns(*pairs: tuple[str, Any], **beside: Any) -> list[dict[str, Any]]:
    return [
        {"from": who, "value": value, **(beside if who in ("gpt", "function_call") else {})} for who, value in pairs
    ]


SHAREGPT = {
    "conversations": turns(
        *(("human", "q"), ("gpt", "Wait."), ("function_call", text_of(X)), ("function_call", text_of(Y))),
        *(("observation", "no x"), ("observation", "no y"), ("gpt", "None.")),
    ),
}
ANSWERED = (
    *(Message("user", "q"), Message("assistant", "Wait.", (X, Y)), Message("tool", "no x"), Message("tool", "no y")),
    Message("assistant", "None."),
)


@pytest.mark.parametrize("layout", PARALLEL)
@pytest.mark.parametrize("source", [openai_traces, chat_jsonl])
def test_every_layout_of_one_conversation_gives_the_same_lessons(tmp_path: Path, layout: str, source: Any) -> None:
    first, second = read(source, tmp_path / "rows.jsonl", [{**PARALLEL[layout], "tools": [TOOL]}])
    assert second.messages == ANSWERED
    assert first.messages == ANSWERED[:2]
    assert (first.id[-2:], first.behavior, second.id[-2:], second.behavior) == ("#1", "tool_call", "#2", "direct")


def test_sharegpt_s_turns_give_them_too(tmp_path: Path) -> None:
    told: list[str] = []
    with changes_told_to(lambda where, what, changes: told.extend(change.kind for change in changes)):
        first, second = read(sharegpt, tmp_path / "rows.jsonl", [{**SHAREGPT, "tools": [TOOL]}])
    assert (first.messages, second.messages) == (ANSWERED[:2], ANSWERED)
    assert "joined" in told


def test_results_of_parallel_calls_that_were_logged_as_one_list(tmp_path: Path) -> None:
    both = [text_of(X), text_of(Y)]
    row = {
        "conversations": turns(
            ("human", "q"), ("function_call", f"[{', '.join(both)}]"), ("observation", '["a", {"b": 1}]'), ("gpt", "ok")
        )
    }
    _, second = read(sharegpt, tmp_path / "rows.jsonl", [row])
    assert [m.content for m in second.messages if m.role == "tool"] == ["a", '{"b": 1}']


BROKEN = {
    "a call without its result": (
        [user(), assistant(None, tool_calls=[call("x", "1"), call("y", "2")]), result("r", "2"), assistant("a")],
        "messages[2]: the call of 'find' (id '1') before it has no result",
    ),
    "a user before the result": (
        [user(), assistant(None, tool_calls=[call("x")]), user(), assistant("a")],
        "messages[2]: the call of 'find' (id 'c1') before it has no result",
    ),
    "a result without a call": ([user(), assistant("b"), user(), result("r"), assistant("a")], "answers no call"),
    "a result twice": (
        [user(), assistant(None, tool_calls=[call("x")]), result("r"), result("s"), assistant("a")],
        "'c1' answers a call that has its result",
    ),
    "more results than calls": (
        [
            user(),
            assistant(None, function_call=call("x")["function"]),
            *([{"role": "tool", "content": "r"}] * 2),
            assistant("a"),
        ],
        "the result answers no call",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_behind_a_lost_result_nothing_is_learned(tmp_path: Path, name: str) -> None:
    messages, reason = BROKEN[name]
    kept, rejected = read(openai_traces, tmp_path / "rows.jsonl", [{"messages": messages, "tools": [TOOL]}])
    assert isinstance(kept, Example)
    assert isinstance(rejected, Rejected)
    assert rejected.id.endswith("#2")
    assert reason in rejected.reason


MARKS = [{"weight": 0}, {"train": False}, {"loss": False}, {"trainable": False}, {"train": "false"}, {"loss_mask": 0}]


@pytest.mark.parametrize("mark", MARKS, ids=str)
def test_marks_of_what_not_to_learn_hold_in_every_source(tmp_path: Path, mark: dict[str, Any]) -> None:
    file = tmp_path / "rows.jsonl"
    messages = [user(), assistant("bad", **mark), user(), assistant("good")]
    for source in (openai_traces, chat_jsonl):
        (one,) = read(source, file, [{"messages": messages}])
        assert (one.id[-2:], one.messages[-1].content) == ("#2", "good")
    (one,) = read(chat_jsonl, file, [{"prompt": messages[:1], "completion": messages[1:]}])
    assert one.messages[-1].content == "good"
    conversation = [*turns(("human", "q"), ("gpt", "bad"), **mark), *turns(("human", "q"), ("gpt", "good"))]
    (one,) = read(sharegpt, file, [{"conversations": conversation}])
    assert one.messages[-1].content == "good"
    (one,) = read(when2call, file, [{"messages": messages[:2], "tools": []}], split="train_sft")
    assert one.reason.endswith("the answer is marked as not to be learned")


@pytest.mark.parametrize("source", [openai_traces, chat_jsonl, sharegpt, when2call, xlam])
@pytest.mark.parametrize(("key", "value"), [("label", False), ("kto_tag", False), ("train", False), ("weight", 0)])
def test_a_row_that_is_marked_as_no_example_is_rejected(tmp_path: Path, source: Any, key: str, value: Any) -> None:
    settings = {"split": "train_sft"} if source is when2call else {}
    row = {"messages": [user(), assistant()], "tools": [TOOL], "query": "q", "answers": [json.loads(text_of(X))]}
    row["conversations"] = turns(("human", "q"), ("gpt", "a"))
    (kept,) = read(source, tmp_path / "rows.jsonl", [row | {key: not value}], **settings)
    assert isinstance(kept, Example)
    (rejected,) = read(source, tmp_path / "rows.jsonl", [row | {key: value}], **settings)
    assert f"'{key}' is {'0' if key == 'weight' else 'false'}: not an answer to imitate" in rejected.reason


ENDS = {
    "choices": {"messages": [user()], "choices": [{"message": assistant(), "finish_reason": "length"}]},
    "response": {"messages": [user()], "response": {"choices": [{"message": assistant(), "finish_reason": "length"}]}},
    "in the message": {"messages": [user(), assistant(finish_reason="length")]},
    "beside messages": {"messages": [user(), assistant()], "finish_reason": "length"},
    "anthropic": {"request": {"messages": [user()]}, "response": {**assistant(), "stop_reason": "max_tokens"}},
    "bedrock": {
        "input": {"messages": [user()]},
        "output": {"output": {"message": assistant()}, "stopReason": "max_tokens"},
    },
    "responses": {"input": "q", "output": [assistant()], "incomplete_details": {"reason": "max_output_tokens"}},
    "langchain": {
        "messages": [user(), {"type": "ai", "content": "a", "response_metadata": {"finish_reason": "length"}}]
    },
    "filtered": {"messages": [user()], "choices": [{"message": assistant(), "finish_reason": "content_filter"}]},
    "guarded": {"messages": [user(), assistant(stopReason="guardrail_intervened")]},
    "no calls": {"messages": [user()], "choices": [{"message": assistant(), "finish_reason": "tool_calls"}]},
    "no use": {"messages": [user(), assistant(stop_reason="tool_use")]},
}


@pytest.mark.parametrize("name", ENDS)
def test_an_answer_that_its_record_calls_incomplete_is_rejected(tmp_path: Path, name: str) -> None:
    (rejected,) = read(openai_traces, tmp_path / "rows.jsonl", [ENDS[name]])
    assert isinstance(rejected, Rejected)
    assert ": its record says '" in rejected.reason


def test_an_incomplete_answer_costs_only_itself(tmp_path: Path) -> None:
    messages = [user(), assistant("The", finish_reason="length"), user("Go on."), assistant("The end.")]
    rejected, kept = read(openai_traces, tmp_path / "rows.jsonl", [{"messages": messages}])
    assert "the answer was cut off" in rejected.reason
    assert len(kept.messages) == 4


THOUGHT: dict[str, Any] = {
    "inline": "<think>\nHm.\n</think>\n\nIt is 5.",
    "its end alone": "Hm.\n</think>\n\nIt is 5.",
    "mistral": "[THINK]Hm.[/THINK]It is 5.",
    "anthropic": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "It is 5."}],
    "bedrock": [{"reasoningContent": {"reasoningText": {"text": "Hm."}}}, {"text": "It is 5."}],
    "gemini": [{"text": "Hm.", "thought": True}, {"text": "It is 5."}],
}


@pytest.mark.parametrize("said", THOUGHT.values(), ids=THOUGHT)
def test_thoughts_are_dropped_and_told_by_one_rule(tmp_path: Path, said: Any) -> None:
    told: list[str] = []
    with changes_told_to(lambda where, what, changes: told.extend(change.kind for change in changes)):
        (one,) = read(openai_traces, tmp_path / "rows.jsonl", [{"messages": [user(), assistant(said)]}])
        if isinstance(said, str):
            (other,) = read(
                sharegpt, tmp_path / "rows.jsonl", [{"conversations": turns(("human", "q"), ("gpt", said))}]
            )
            assert other.messages == one.messages
    assert one.messages[-1].content == "It is 5."
    assert one.messages[-1].thought == ""
    assert set(told) == {"text_dropped"}


HIDDEN = [{"type": "reasoning.encrypted", "data": "x"}]
BESIDE: dict[str, list[dict[str, Any]]] = {
    **{name: [assistant(said)] for name, said in THOUGHT.items()},
    "reasoning_content": [assistant("It is 5.", reasoning_content="Hm.\n")],
    "openrouter": [
        assistant("It is 5.", reasoning="Hm.", reasoning_details=[{"type": "reasoning.text", "text": "Hm."}])
    ],
    "some of it hidden": [
        assistant("It is 5.", reasoning_details=[*HIDDEN, {"type": "reasoning.text", "text": "Hm."}])
    ],
    "langchain": [assistant("It is 5.", additional_kwargs={"reasoning_content": "Hm."})],
    "responses": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is 5."}]},
    ],
    "both beside and within": [assistant("<think>Hm.</think>It is 5.", reasoning_content="Hm.")],
}


@pytest.mark.parametrize("said", BESIDE.values(), ids=BESIDE)
def test_thoughts_are_kept_where_that_is_asked(tmp_path: Path, said: list[dict[str, Any]]) -> None:
    told: list[str] = []
    with thoughts_kept(True), changes_told_to(lambda where, what, changes: told.extend(c.kind for c in changes)):
        (one,) = read(openai_traces, tmp_path / "rows.jsonl", [{"messages": [user(), *said]}])
    assert (one.messages[-1].content, one.messages[-1].thought) == ("It is 5.", "Hm.")
    assert "text_dropped" not in told


@pytest.mark.parametrize(
    "said", [assistant("<think>\n\n</think>\n\nIt is 5."), assistant("It is 5.", reasoning_details=HIDDEN)]
)
def test_an_empty_or_hidden_thought_is_none(tmp_path: Path, said: dict[str, Any]) -> None:
    told: list[str] = []
    with thoughts_kept(True), changes_told_to(lambda where, what, changes: told.extend(c.kind for c in changes)):
        (one,) = read(openai_traces, tmp_path / "rows.jsonl", [{"messages": [user(), said]}])
    assert (one.messages[-1].content, one.messages[-1].thought) == ("It is 5.", "")
    assert told == ["text_dropped"]


def test_thoughts_before_a_call_and_thoughts_without_end(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for kind, source in (("function_call", sharegpt), ("tool_call", openai_traces)):
        called = f"<think>Hm.</think>{text_of(X)}"
        row = {
            "conversations": turns(("human", "q"), (kind, called)),
            "messages": [user(), {"role": kind, "content": called}],
        }
        (one,) = read(source, file, [row])
        assert one.messages[-1] == Message("assistant", "", (X,))
    (rejected,) = read(openai_traces, file, [{"messages": [user(), assistant("<think>Hm. It")]}])
    assert rejected.reason.endswith("messages[1]: its thoughts do not end")


@pytest.mark.parametrize("key", ["system", "instructions", "system_prompt"])
def test_a_system_text_beside_the_messages_is_the_system_s(tmp_path: Path, key: str) -> None:
    file = tmp_path / "rows.jsonl"
    asked = [user(), assistant()]
    for text in ("Be brief.", [{"type": "text", "text": "Be brief."}], [{"text": "Be brief."}]):
        rows: list[tuple[Any, dict[str, Any]]] = [
            *((source, {"messages": asked}) for source in (openai_traces, chat_jsonl)),
            (chat_jsonl, {"prompt": asked[:1], "completion": asked[1:]}),
            (chat_jsonl, {"prompt": asked[:1], "chosen": asked[1:], "rejected": [assistant("b")]}),
            (openai_traces, {"request": {"messages": asked[:1], key: text}, "response": asked[1]}),
            (sharegpt, {"conversations": turns(("human", "q"), ("gpt", "a"))}),
            (xlam, {"query": "q", "answers": [json.loads(text_of(X))], "tools": [TOOL]}),
        ]
        for source, row in rows:
            (one,) = read(source, file, [{**row, **({} if "request" in row else {key: text})}])
            prompt = one.prompt if isinstance(one, Example | Preference) else ()
            assert prompt == (Message("system", "Be brief."), Message("user", "q")), (source, row)
    (same,) = read(openai_traces, file, [{"messages": [{"role": "system", "content": "S"}, *asked], key: "S"}])
    assert [m.role for m in same.messages] == ["system", "user", "assistant"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"n": 5}, '{"n": 5}'),
        (None, ""),
        (7, "7"),
        (True, "true"),
        ([{"n": 9}], '[{"n": 9}]'),
        ([], "[]"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"json": {"n": 1}}], '{"n": 1}'),
    ],
)
def test_what_a_tool_gives_is_text_or_json_text(tmp_path: Path, content: Any, text: str) -> None:
    messages = [user(), assistant(None, tool_calls=[call("x")]), {**result(""), "content": content}, assistant()]
    _, second = read(openai_traces, tmp_path / "rows.jsonl", [{"messages": messages, "tools": [TOOL]}])
    assert second.messages[2] == Message("tool", text)
    said = turns(("human", "q"), ("function_call", text_of(X)), ("observation", content), ("gpt", "a"))
    _, other = read(sharegpt, tmp_path / "rows.jsonl", [{"conversations": said}])
    assert other.messages[2] == Message("tool", text)


@pytest.mark.parametrize("empty", ["", None, "  ", "null", {}])
def test_a_tool_without_arguments_is_called_with_none(tmp_path: Path, empty: Any) -> None:
    file, bare = tmp_path / "rows.jsonl", {"name": "ping", "arguments": empty}
    rows: list[tuple[Any, dict[str, Any]]] = [
        (openai_traces, {"messages": [user(), assistant(None, tool_calls=[{"id": "1", "function": bare}])]}),
        (openai_traces, {"messages": [user(), assistant([{"type": "tool_use", "name": "ping", "input": empty}])]}),
        (xlam, {"query": "q", "answers": [bare], "tools": [TOOL]}),
        (sharegpt, {"conversations": turns(("human", "q"), ("function_call", [bare]))}),
    ]
    for source, row in rows:
        (one,) = read(source, file, [row])
        assert one.messages[-1].tool_calls == (ToolCall("ping", {}),)
