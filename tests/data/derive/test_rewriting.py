import json
from collections import Counter
from typing import Any

import pytest
from chat_server import Answer, in_turn, says, serving
from toy_calls import PLAY, WEATHER, call, row, user

from calltune.config.data import DeriveConfig, RewriteConfig
from calltune.data.derive import derive
from calltune.errors import ConfigError, ModelError
from calltune.types import Example

# "The Eternal City" cannot be found by rule.
QUESTION = "Is it going to rain in the Eternal City?"
ROWS = [row(str(n), user(f"{QUESTION} I leave on day {n}."), call("get_weather", city="Rome")) for n in range(4)]


def settings(base_url: str, **keys: Any) -> DeriveConfig:
    model = RewriteConfig(base_url=base_url, model="m", max_tries=1, concurrency=1, **keys)
    return DeriveConfig(request_for_info=1, cannot_answer=0, direct=0, other_tools=0, pairs=0, model=model)


def rewritten(*answers: Answer, rows: list[Example] = ROWS, **keys: Any) -> tuple[list[Any], Counter, list[dict]]:
    counts: Counter[tuple[str, str]] = Counter()
    with serving(in_turn(*answers)) as server:
        made = list(derive(rows, settings(server.base_url, **keys), 0, counts))
    return made, counts, server.requests


def answer(*texts: str) -> Answer:
    return says(json.dumps({"messages": list(texts)}))


def test_a_model_takes_out_what_no_rule_finds() -> None:
    made, counts, requests = rewritten(answer("Is it going to rain? I leave soon."))
    assert [derived.messages[0].content for derived in made] == ["Is it going to rain? I leave soon."] * 4
    assert {derived.behavior for derived in made} == {"request_for_info"}
    assert counts["request_for_info", "of these by the model"] == counts["request_for_info", "made"] == 4
    asked = requests[0]["messages"][0]["content"]
    assert QUESTION in asked
    assert '"Rome"' in asked
    assert "the name of the city" in asked


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (answer("Is it going to rain in Rome?"), "of the model's rewriting: the value, or a part of it, is still told"),
        (answer("Rain?"), "of the model's rewriting: the question says nothing without it"),
        (answer("a " * 100), "the model's answer cannot be read"),
        (answer("one", "two"), "the model's answer cannot be read"),
        (says("Here you go: it rains."), "the model's answer cannot be read"),
        (says('{"messages": [1]}'), "the model's answer cannot be read"),
        (says("[]"), "the model's answer cannot be read"),
        (says('{"messages": ["It rains \\ud83d."]}'), "the model's answer cannot be read"),
        (Answer("no", status=500), "the model gave no answer"),
    ],
)
def test_garbage_is_passed_over_and_counted(garbage: Answer, reason: str) -> None:
    made, counts, requests = rewritten(garbage)
    assert not made
    assert len(requests) == 4
    assert counts["request_for_info", reason] == 4


def test_an_unchanged_question_is_no_rewriting() -> None:
    made, counts, _ = rewritten(answer(ROWS[0].messages[0].content), rows=ROWS[:1])
    assert not made
    assert counts["request_for_info", "the model's answer cannot be read"] == 1


def test_the_next_row_is_asked_for_one_that_failed() -> None:
    made, _, requests = rewritten(says("?"), says("?"), says("?"), answer("```json\nx```"), rows=ROWS[:2])
    assert not made
    assert len(requests) == 2


def test_a_budget_is_kept() -> None:
    made, counts, requests = rewritten(answer("Is it going to rain? I leave soon."), max_requests=2)
    assert len(requests) == len(made) == 2
    assert counts["request_for_info", "the model gave no answer"] == 2


def test_one_budget_for_all_rounds() -> None:
    # Half as many rows as cases: those that failed are made up for in a second round, on the same budget.
    model = {"max_tries": 1, "concurrency": 1, "max_requests": 3, "model": "m"}
    with serving(in_turn(says("?"))) as server:
        keys = RewriteConfig(base_url=server.base_url, **model)
        half = DeriveConfig(request_for_info=0.5, cannot_answer=0, direct=0, other_tools=0, pairs=0, model=keys)
        assert not list(derive(ROWS, half, 0))
    assert len(server.requests) == 3


def test_no_model_no_request() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    without = DeriveConfig(request_for_info=1, cannot_answer=0, direct=0, other_tools=0, pairs=0)
    assert not list(derive(ROWS, without, 0, counts))
    assert counts["request_for_info", "the value does not stand in the question literally"] == 4


def test_a_wrong_address_is_said_at_once() -> None:
    with pytest.raises(ModelError, match="HTTP 404"):
        rewritten(Answer({"error": {"message": "no such model"}}, status=404))


def test_the_key_stays_in_its_variable() -> None:
    with pytest.raises(ConfigError, match="'NO_SUCH_KEY' is not set"):
        list(derive(ROWS, settings("http://localhost:1/v1", api_key_env="NO_SUCH_KEY"), 0))
    assert PLAY in ROWS[0].tools
    assert WEATHER in ROWS[0].tools
