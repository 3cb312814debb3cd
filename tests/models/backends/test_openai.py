import json
import re
from typing import Any

import pytest
from chat_server import Answer, ChatServer, calls, in_turn, says, serving

from calltune.errors import ConfigError, ModelError
from calltune.models.backends.openai import Backend, Settings, sent_names
from calltune.types import Completion, Message, Sample, Score, ScoringRequest, Tool, ToolCall
from calltune.verbs.evaluate import count

TOOL = Tool("uber.ride", "Rides.", {"type": "object", "properties": {"to": {"type": "string"}}})
OTHER = Tool("uber_ride", "Others.", {"type": "object", "properties": {}})


def backend_for(server: ChatServer, model: str = "runs/toy/sft", **changed: Any) -> Backend:
    quick = {"backoff_seconds": 0.001, "timeout_seconds": 10, "max_tries": 2}
    return Backend(model, 4096, Settings(**{"base_url": server.base_url, **quick, **changed}))


def sample(number: int = 0, tools: tuple[Tool, ...] = (TOOL, OTHER)) -> Sample:
    return Sample(str(number), "toy", (Message("user", f"q{number}"),), tools, "x")


def answer(reply: Answer) -> Completion:
    with serving(in_turn(reply)) as server:
        (completion,) = backend_for(server).answer([sample()], max_new_tokens=9)
    return completion


def test_what_is_asked() -> None:
    with serving(in_turn(says("Yes."))) as server:
        backend = backend_for(server, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
        assert backend.chat is None
        (completion,) = backend.answer([sample()], max_new_tokens=9)
    assert completion == Completion("0", Message("assistant", "Yes."), "Yes.", "ok")
    (request,) = server.requests
    assert request == {
        "model": "runs/toy/sft",
        "messages": [{"role": "user", "content": "q0"}],
        "tools": [
            {
                "type": "function",
                "function": {"name": name, "description": tool.description, "parameters": tool.parameters},
            }
            for name, tool in (("uber_ride_2", TOOL), ("uber_ride", OTHER))
        ],
        "max_tokens": 9,
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    with serving(in_turn(says("Yes."))) as server:
        named = {"runs/toy/sft": "toy-sft"}
        backend = backend_for(server, served_as=named, token_limit="max_completion_tokens", greedy=False)
        backend.answer([sample(tools=())], max_new_tokens=9)
    messages = [{"role": "user", "content": "q0"}]
    assert server.requests == [{"model": "toy-sft", "messages": messages, "max_completion_tokens": 9}]


def test_a_server_is_told_whether_to_think() -> None:
    replies = says("Yes.", reasoning_content="Hm."), says("<think>Hm.</think>Yes."), says("Yes.")
    with serving(in_turn(*replies)) as server:
        backend = backend_for(server)
        found = [backend.answer([sample()], 9, thinking)[0].message for thinking in (True, True, False)]
    assert [request["chat_template_kwargs"] for request in server.requests] == [
        {"enable_thinking": thinking} for thinking in (True, True, False)
    ]
    assert [message and (message.content, message.thought) for message in found] == [
        ("Yes.", "Hm."),
        ("Yes.", "Hm."),
        ("Yes.", ""),
    ]
    with serving(in_turn(says("Yes."))) as server:
        backend = backend_for(server, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
        with pytest.raises(ConfigError, match="is what \\[chat\\] thinking sends"):
            backend.answer([sample()], 9, thinking=True)
    assert server.requests == []


def test_a_conversation_with_calls() -> None:
    ride = ToolCall("uber.ride", {"to": "Köln"})
    talk = (
        Message("system", "s"),
        Message("user", "q"),
        Message("assistant", "", (ride, ToolCall("gone.tool", {}))),
        Message("tool", "done"),
        Message("tool", "lost"),
        Message("user", "and?"),
    )
    with serving(in_turn(says("Yes."))) as server:
        backend_for(server).answer([Sample("1", "toy", talk, (TOOL,), "x")], max_new_tokens=9)
    messages = server.requests[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "user"]
    functions = [call["function"] for call in messages[2]["tool_calls"]]
    assert functions == [{"name": "uber_ride", "arguments": '{"to": "Köln"}'}, {"name": "gone_tool", "arguments": "{}"}]
    assert [m["tool_call_id"] for m in messages[3:5]] == [call["id"] for call in messages[2]["tool_calls"]]


def test_calls_come_back_under_their_own_names() -> None:
    completion = answer(calls(("uber_ride_2", '{"to": "x"}'), ("uber_ride", "{}"), ("made_up", "{}")))
    assert completion.status == "ok"
    assert completion.message == Message(
        "assistant", "", (ToolCall("uber.ride", {"to": "x"}), ToolCall("uber_ride", {}), ToolCall("made_up", {}))
    )


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (calls(("uber_ride", "{")), "malformed", "call 0 has arguments that are not JSON"),
        (
            calls(("uber_ride", "{}"), ("uber_ride", '["x"]')),
            "malformed",
            "call 1 has no object of arguments",
        ),
        (calls(("uber_ride", "[" * 100_000)), "malformed", "call 0 has arguments that are JSON out of bounds"),
        (calls(("uber_ride", "9" * 5000)), "malformed", "out of bounds"),
        (calls(("uber_ride", '{"a": NaN}')), "malformed", "call 0 holds a value that JSON does not have"),
        (calls(("uber_ride", '{"a": "\\ud83d"}')), "malformed", "half of a surrogate pair"),
        (calls(("uber_ride", [])), "malformed", "call 0 has no object of arguments"),
        (calls(("uber_ride", "null")), "malformed", "call 0 has no object of arguments"),
        (says(None), "malformed", "the answer has neither text nor calls"),
        (says(" \n", tool_calls=[]), "malformed", "the answer has neither text nor calls"),
        (says("<think>Which?</think>\n"), "malformed", "the answer has neither text nor calls"),
        (says("<think>Which"), "malformed", "a thought is begun and never ends"),
        (says(None, reasoning_content="Hm."), "malformed", "neither text nor calls, only a thought"),
        (says("", reasoning='<tool_call>{"name": "x"}'), "malformed", "only a thought that holds <tool_call>"),
        (says("I call it.", "tool_calls", tool_calls=None), "malformed", "says that calls were made (tool_calls) and"),
        (says("I call it.", "function_call"), "malformed", "says that calls were made (function_call) and sent none"),
        (says(None, tool_calls=[{"type": "function"}]), "malformed", "has no name"),
        (says(None, tool_calls=["x"]), "malformed", "has no name"),
        (says(None, tool_calls={"name": "x"}), "malformed", "has no name"),
        (says('Sure: <tool_call>{"name": '), "malformed", "the server left <tool_call> in the text"),
        (says("and and", "length"), "truncated", "cut it off"),
        (says(None, "length", tool_calls=calls(("a", "{")).body["choices"]), "truncated", "cut it off"),
        (says("", "content_filter"), "error", "content filter"),
        (Answer({"error": {"message": "oh"}}, 500), "error", "HTTP 500: oh (2 tries)"),
        (Answer("garbage"), "error", "not JSON"),
        (Answer({"error": {"message": "too long"}}, 400), "error", "HTTP 400: too long"),
    ],
)
def test_what_is_no_answer(reply: Answer, status: str, reason: str) -> None:
    completion = answer(reply)
    assert (completion.status, completion.message) == (status, None)
    assert reason in completion.reason


def test_other_shapes_of_an_answer() -> None:
    assert answer(says([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).text == "ab"
    assert answer(says(None, refusal="I won't.")).message == Message("assistant", "I won't.")
    assert answer(says("Yes.", reasoning_content="Hm.")).message == Message("assistant", "Yes.")
    both = answer(says("Look:", tool_calls=calls(("uber_ride", "{}")).body["choices"][0]["message"]["tool_calls"]))
    assert both.message == Message("assistant", "Look:", (ToolCall("uber_ride", {}),))


@pytest.mark.parametrize("arguments", ["", " \n", None, "{}", {}])
def test_no_arguments_are_an_empty_object(arguments: object) -> None:
    assert answer(calls(("uber_ride", arguments))).message == Message("assistant", "", (ToolCall("uber_ride", {}),))


def test_arguments_as_an_object_and_in_the_older_layout() -> None:
    ride = Message("assistant", "", (ToolCall("uber.ride", {"to": "Köln"}),))
    assert answer(calls(("uber_ride_2", {"to": "Köln"}))).message == ride
    older = says(None, "function_call", function_call={"name": "uber_ride_2", "arguments": '{"to": "Köln"}'})
    assert answer(older).message == ride
    left_out = says(None, "tool_calls", tool_calls=[{"type": "function", "function": {"name": "uber_ride"}}])
    assert answer(left_out).message == Message("assistant", "", (ToolCall("uber_ride", {}),))


def test_a_thought_alone_is_kept_to_be_looked_at() -> None:
    assert answer(says(None, reasoning_content="Hm.")).text == "Hm."


def test_order_and_counts_with_trouble() -> None:
    trouble = {3: Answer({}, 429, {"Retry-After": "0.02"}), 5: Answer("", hang=True), 8: Answer({}, 500)}

    def reply(body: dict[str, Any]) -> Answer:
        number = int(body["messages"][0]["content"][1:])
        return trouble.get(number) or says(f"a{number}")

    with serving(reply) as server:
        completions = backend_for(server, timeout_seconds=1.5, concurrency=4).answer(
            [sample(number) for number in range(40)], max_new_tokens=9
        )
    assert [completion.sample_id for completion in completions] == [str(number) for number in range(40)]
    assert [int(c.sample_id) for c in completions if c.status == "error"] == [3, 5, 8]
    assert all(c.text == f"a{c.sample_id}" for c in completions if c.status == "ok")
    assert 2 <= server.most_at_once <= 4
    scores = [Score(c.sample_id, None if c.status == "error" else 1.0, "") for c in completions]
    assert count(completions, scores)["num_errors"] == 3


def test_the_budget_covers_all_calls_of_a_backend() -> None:
    with serving(in_turn(says("a"))) as server:
        backend = backend_for(server, max_requests=5)
        first, second = backend.answer([sample(n) for n in range(4)], 9), backend.answer([sample(4), sample(5)], 9)
    assert [c.status for c in first + second] == ["ok"] * 5 + ["error"]
    assert "the budget of 5 requests" in second[1].reason
    assert len(server.requests) == 5


def test_an_unknown_model_stops_at_once() -> None:
    with (
        serving(in_turn(Answer({"error": {"message": "no such model"}}, 404))) as server,
        pytest.raises(ModelError, match="model 'runs/toy/sft': HTTP 404: no such model"),
    ):
        backend_for(server, concurrency=1).answer([sample(n) for n in range(9)], 9)
    assert len(server.requests) == 1


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-123")
    with serving(in_turn(Answer({"error": {"message": "secret-123"}}, 400))) as server:
        (completion,) = backend_for(server, api_key_env="MY_KEY").answer([sample()], 9)
    assert server.keys == ["Bearer secret-123"]
    assert completion.reason == "HTTP 400: ***"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="'MY_KEY' is not set"):
        backend_for(server, api_key_env="MY_KEY")


def test_there_are_no_likelihoods() -> None:
    backend = Backend("m", 4096, Settings(base_url="http://localhost/v1"))
    with pytest.raises(ConfigError, match="the openai backend answers only; log-likelihoods need the backend 'hf'"):
        backend.loglikelihood([ScoringRequest("p", ("a",))])


def test_names_are_mapped_and_back() -> None:
    names = ["a.b", "a_b", "a b", "ok-1", "x" * 64, "x" * 70, "x" * 71, "", "größe", "a.b", "a_b_2"]
    sent = sent_names(names)
    assert set(sent) == set(names)
    assert len(set(sent.values())) == len(sent)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in sent.values())
    assert {name: sent[name] for name in ("a_b", "ok-1", "a_b_2", "x" * 64)} == {
        name: name for name in ("a_b", "ok-1", "a_b_2", "x" * 64)
    }
    assert sent["a.b"] != "a_b"


def test_names_of_real_tools(shared_data: Any) -> None:
    with (shared_data / "when2call" / "nvidia_test_dev.jsonl").open() as rows:
        for row in rows:
            names = [json.loads(tool)["name"] for tool in json.loads(row)["tools"]]
            sent = sent_names(names)
            assert len(set(sent.values())) == len(set(names))


def test_a_template_plays_no_part() -> None:
    with pytest.raises(ConfigError, match="'chat_template' plays no part with the openai backend"):
        Backend("m", 4096, Settings(base_url="http://localhost/v1"), chat_template="own.jinja")
