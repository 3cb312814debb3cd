import asyncio
import email.utils
import time
from typing import Any

import pytest
from chat_server import Answer, ChatServer, in_turn, label, says, serving

from calltune.config.table import parse_options
from calltune.errors import ConfigError, ModelError
from calltune.evaluation.judge import JudgeSettings, Verdict, ask_label, read_label
from calltune.models.endpoint import Endpoint

LABELS = ("direct_answer", "tool_call")


def settings_for(server: ChatServer, **changed: Any) -> JudgeSettings:
    quick = {"backoff_seconds": 0.001, "timeout_seconds": 10, "max_tries": 3}
    return JudgeSettings(**{"base_url": server.base_url, "model": "m", **quick, **changed})


def judge(settings: JudgeSettings, count: int = 1, endpoint: Endpoint | None = None) -> list[Verdict]:
    verdicts: dict[int, Verdict] = {}
    endpoint = endpoint or Endpoint(settings)
    endpoint.each(
        range(count), lambda number: ask_label(endpoint, settings, f"case {number}", LABELS), verdicts.__setitem__
    )
    return [verdicts[number] for number in range(count)]


def test_one_label() -> None:
    with serving(in_turn(label("tool_call"))) as server:
        (verdict,) = judge(settings_for(server))
    assert verdict == Verdict("tool_call", "", '{"classification": "tool_call"}', 1)
    (request,) = server.requests
    assert set(request) == {"model", "messages"}
    assert request["messages"][0]["content"].startswith("case 0\n")
    assert "direct_answer, tool_call" in request["messages"][0]["content"]


def test_options_go_into_the_request() -> None:
    with serving(in_turn(label("tool_call"))) as server:
        judge(settings_for(server, temperature=0, extra_body={"seed": 3}))
    assert (server.requests[0]["temperature"], server.requests[0]["seed"]) == (0, 3)


@pytest.mark.parametrize(
    ("answer", "expected", "problem"),
    [
        ('{"classification": "tool_call"}', "tool_call", ""),
        ('```json\n{"classification": "Tool_Call "}\n```', "tool_call", ""),
        ('<think>perhaps {"classification": "x"}</think>\n{"classification": "direct_answer"}', "direct_answer", ""),
        ("tool_call", None, "not JSON"),
        ('It is {"classification": "tool_call"}', None, "not JSON"),
        ("[" * 100_000, None, "not JSON"),
        ('["tool_call"]', None, "no 'classification'"),
        ('{"label": "tool_call"}', None, "no 'classification'"),
        ('{"classification": null}', None, "no 'classification'"),
        ('{"classification": "both"}', None, "'both' is none of the labels"),
        ("", None, "not JSON"),
        ('{"classification": "tool_call", "classification": "direct_answer"}', None, "not JSON"),
    ],
)
def test_reading_an_answer(answer: str, expected: str | None, problem: str) -> None:
    found, why = read_label(answer, LABELS)
    assert found == expected
    assert problem in why
    assert bool(why) == (expected is None)


@pytest.mark.parametrize("garbage", ["no JSON", '{"classification": "neither"}', None, ""])
def test_an_unreadable_answer_is_asked_again_once(garbage: str | None) -> None:
    with serving(in_turn(says(garbage), label("tool_call"))) as server:
        (verdict,) = judge(settings_for(server))
    assert (verdict.label, verdict.num_requests) == ("tool_call", 2)
    roles = [message["role"] for message in server.requests[1]["messages"]]
    assert roles == (["user", "assistant", "user"] if garbage else ["user", "user"])
    with serving(in_turn(says(garbage))) as server:
        (verdict,) = judge(settings_for(server))
    assert (verdict.label, verdict.num_requests, len(server.requests)) == (None, 2, 2)
    assert verdict.reason.startswith("unreadable twice: ")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Answer({"error": {"message": "slow\ndown", "code": "rate_limit"}}, 429), "HTTP 429: slow down (3 tries)"),
        (Answer({"error": {"message": "broken"}}, 500), "HTTP 500: broken (3 tries)"),
        (Answer("<html>bad gateway</html>", 502, {"Content-Type": "text/html"}), "HTTP 502: "),
        (Answer("not JSON"), "the reply is not JSON: 'not JSON' (3 tries)"),
        (Answer({"choices": []}), "the reply holds no message"),
        (Answer({"error": {"message": "upstream"}}), "the reply holds no message"),
        (Answer([1]), "the reply holds no message"),
        (Answer({"choices": [{"message": "x"}]}), "the reply holds no message"),
        (Answer({"choices": [7]}), "the reply holds no message"),
    ],
)
def test_passing_trouble_is_tried_again(trouble: Answer, reason: str) -> None:
    with serving(in_turn(trouble, trouble, label("tool_call"))) as server:
        (verdict,) = judge(settings_for(server))
    assert (verdict.label, verdict.num_requests) == ("tool_call", 3)
    with serving(in_turn(trouble)) as server:
        (verdict,) = judge(settings_for(server))
    assert verdict.label is None
    assert reason in verdict.reason
    assert len(server.requests) == 3


def test_a_hang_ends_at_the_time_out() -> None:
    with serving(in_turn(Answer("", hang=True), label("tool_call"))) as server:
        (verdict,) = judge(settings_for(server, timeout_seconds=1))
    assert (verdict.label, verdict.num_requests) == ("tool_call", 2)
    with serving(in_turn(Answer("", hang=True))) as server:
        (verdict,) = judge(settings_for(server, timeout_seconds=0.2, max_tries=2))
    assert verdict.reason == "no reply within 0.2 s (2 tries)"


def test_an_answer_byte_by_byte_ends_at_the_time_out() -> None:
    slow = label("tool_call")
    slow.drip = True
    with serving(in_turn(slow)) as server:
        start = time.monotonic()
        (verdict,) = judge(settings_for(server, timeout_seconds=0.3, max_tries=1))
        assert time.monotonic() - start < 8
    assert verdict.reason == "no reply within 0.3 s"


def test_no_server() -> None:
    with serving(in_turn(label("tool_call"))) as server:
        gone = server.base_url
    settings = JudgeSettings(base_url=gone, model="m", backoff_seconds=0.001, max_tries=2)
    (verdict,) = judge(settings)
    assert verdict.label is None
    assert verdict.reason.startswith("no connection: ")
    assert verdict.num_requests == 2


@pytest.mark.parametrize(
    "value", ["0.3", email.utils.formatdate(time.time() + 2, usegmt=True)], ids=["seconds", "a date"]
)
def test_retry_after_is_kept_by_all(value: str) -> None:
    if value[0].isalpha():
        value = email.utils.formatdate(time.time() + 2, usegmt=True)
    with serving(in_turn(Answer({}, 429, {"Retry-After": value}), label("tool_call"))) as server:
        start = time.monotonic()
        verdicts = judge(settings_for(server, concurrency=1), count=2)
        seconds = time.monotonic() - start
    assert [verdict.label for verdict in verdicts] == ["tool_call"] * 2
    assert 0.25 < seconds < 15
    with serving(in_turn(Answer({}, 429, {"Retry-After": "86400"}))) as server:
        (verdict,) = judge(settings_for(server))
    assert "in 86400 s only" in verdict.reason
    assert len(server.requests) == 1


def test_waits_grow_and_differ() -> None:
    with serving(in_turn(label("tool_call"))) as server:
        endpoint = Endpoint(settings_for(server, backoff_seconds=1))
    waits = [[endpoint._backoff(number) for _ in range(50)] for number in (1, 2, 3, 20)]
    for longest, several in zip((1, 2, 4, 60), waits, strict=True):
        assert all(longest / 2 <= wait <= longest for wait in several)
        assert len(set(several)) > 10


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, {"message": "bad key secret-123"}),
        (404, {"message": "no such model"}),
        (429, {"message": "no money left", "code": "insufficient_quota"}),
    ],
)
def test_what_is_wrong_for_every_request_stops_at_once(
    status: int, error: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret-123")
    with (
        serving(in_turn(Answer({"error": error}, status))) as server,
        pytest.raises(ModelError, match=f"model 'm': HTTP {status}: ") as raised,
    ):
        judge(settings_for(server, api_key_env="JUDGE_KEY", concurrency=2), count=50)
    assert len(server.requests) <= 2
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_wrong_for_one_request_is_its_error_alone() -> None:
    def reply(body: dict[str, Any]) -> Answer:
        asked = body["messages"][0]["content"]
        return Answer({"error": {"message": "too long"}}, 400) if asked.startswith("case 1\n") else label("tool_call")

    with serving(reply) as server:
        verdicts = judge(settings_for(server), count=3)
    assert [verdict.label for verdict in verdicts] == ["tool_call", None, "tool_call"]
    assert verdicts[1].reason == "HTTP 400: too long"
    assert len(server.requests) == 3


def test_text_that_is_not_unicode() -> None:
    with serving(in_turn(label("tool_call"))) as server:
        endpoint = Endpoint(settings := settings_for(server))
        found: dict[str, Verdict] = {}
        endpoint.each(["\ud83d"], lambda text: ask_label(endpoint, settings, text, LABELS), found.__setitem__)
    assert found["\ud83d"].label is None
    assert "not Unicode" in found["\ud83d"].reason


def test_the_budget_counts_every_try() -> None:
    with serving(in_turn(Answer({}, 500))) as server:
        verdicts = judge(settings_for(server, max_requests=7, max_tries=2, concurrency=3), count=10)
    assert len(server.requests) == 7
    assert sum(verdict.num_requests for verdict in verdicts) == 7
    assert all(verdict.label is None for verdict in verdicts)
    assert "the budget of 7 requests (max_requests) is used up" in verdicts[-1].reason
    with serving(in_turn(label("tool_call"))) as server:
        settings = settings_for(server, max_requests=7)
        verdicts = judge(settings, count=4, endpoint=Endpoint(settings, num_requests=5))
    assert len(server.requests) == 2
    assert [verdict.label for verdict in verdicts].count("tool_call") == 2


def test_concurrency_is_bounded() -> None:
    def reply(body: dict[str, Any]) -> Answer:
        time.sleep(0.05)
        return label("tool_call")

    with serving(reply) as server:
        judge(settings_for(server, concurrency=3), count=12)
    assert 2 <= server.most_at_once <= 3


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "for-another-server")
    with serving(in_turn(label("tool_call"))) as server:
        judge(settings_for(server))
    assert server.keys == ["Bearer none"]
    monkeypatch.setenv("JUDGE_KEY", "secret-123")
    with serving(in_turn(Answer({"error": {"message": "what is secret-123?"}}, 400))) as server:
        settings = settings_for(server, api_key_env="JUDGE_KEY")
        (verdict,) = judge(settings)
    assert server.keys == ["Bearer secret-123"]
    assert verdict.reason == "HTTP 400: what is ***?"
    assert "secret" not in repr(settings)
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(ConfigError, match="the environment variable 'JUDGE_KEY' is not set"):
        Endpoint(settings)


def test_settings() -> None:
    table = {"base_url": "http://localhost:1/v1", "model": "m"}
    kept = parse_options(JudgeSettings, {**table, "concurrency": 2}, "x").model_dump()
    assert kept == {"model": "m", "extra_body": {}, "temperature": None}
    for changed in ({"api_key_env": "sk-planted"}, {"base_url": "http://me:planted@host/v1"}):
        with pytest.raises(ConfigError) as raised:
            parse_options(JudgeSettings, {**table, **changed}, "x")
        assert "planted" not in str(raised.value)
    for changed in ({"base_url": "localhost"}, {"model": ""}, {"max_tries": 0}, {"timeout_seconds": 0}, {"key": "x"}):
        with pytest.raises(ConfigError, match=next(iter(changed))):
            parse_options(JudgeSettings, {**table, **changed}, "x")


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calltune.models.endpoint.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package 'openai', which is not installed: calltune\[judge\]"):
        Endpoint(JudgeSettings(base_url="http://localhost/v1", model="m"))


def test_an_error_of_ours_keeps_its_traceback() -> None:
    async def work(item: int) -> int:
        await asyncio.sleep(0)
        return 1 // item

    with serving(in_turn(label("tool_call"))) as server, pytest.raises(ZeroDivisionError):
        Endpoint(settings_for(server)).each([1, 0, 2], work, lambda item, result: None)
