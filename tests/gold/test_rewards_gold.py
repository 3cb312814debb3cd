"""Rewards against what the benchmarks' scorers said of 1,000 recorded answers (`make_rewards.py`)."""

import json
from collections import Counter

import pytest
from make_rewards import FILE, MODEL, NUM_ANSWERS, NUM_QUESTIONS, read_back

from calltune.calling.chat import Chat
from calltune.data.rows import example_from
from calltune.mining.rewards import as_question, reward
from calltune.models.load import load_tokenizer

LINES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
QUESTIONS = {row["id"]: as_question(example_from(row)) for row in LINES[:NUM_QUESTIONS]}
ANSWERS = LINES[NUM_QUESTIONS:]


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer(str(MODEL)))


def test_every_kind_of_verdict_is_recorded() -> None:
    assert len(ANSWERS) == NUM_ANSWERS
    shown, calls = Counter(a["shows"] for a in ANSWERS), Counter(a["bfcl"] for a in ANSWERS if "bfcl" in a)
    kinds = ("direct", "tool_call", "request_for_info", "cannot_answer", "malformed", "truncated")
    assert min(shown[kind] for kind in kinds) >= 20
    mistakes = ("correct", "missed_call", "wrong_tool", "invented_tool", "wrong_count", "missing_argument")
    mistakes += ("extra_argument", "wrong_type", "wrong_value", "malformed", "truncated")
    assert min(calls[kind] for kind in mistakes) >= 5


def test_rewards_are_the_scorers_verdicts(chat: Chat) -> None:
    for answer in ANSWERS:
        question = QUESTIONS[answer["question"]]
        earned = reward(question, read_back(chat, question.sample, answer["text"], answer["is_ended"]))
        assert earned is not None, answer
        assert (earned.readable < 0) == (answer["shows"] in ("malformed", "truncated")), answer
        assert (earned.behavior > 0) == answer["is_behavior_right"], answer
        assert (earned.schema > 0) == answer.get("keeps_schema", False), answer
        # BFCL takes a text in another case for the same; where the schema names the texts, the tool does not.
        is_call_right = answer.get("bfcl") == "correct" and answer["keeps_schema"]
        assert (earned.call > 0) == is_call_right, answer
        assert earned.total in (-1.0, 0.0, 0.25, 0.5, 1.0), answer
        is_right = is_call_right if "bfcl" in answer else answer["is_behavior_right"]
        assert (earned.total == 1.0) == is_right, answer
