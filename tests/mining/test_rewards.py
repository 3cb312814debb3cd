"""What an answer earns, part by part, and that no behaviour is a cheap way up."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from toy_calls import BOOK, SEND, WEATHER, call, user

from calltune.calling.chat import Chat
from calltune.data.sources import synthetic
from calltune.mining.questions import Question
from calltune.mining.rewards import PARTS, TABLE, Judge, Reward, as_question, reward
from calltune.models.load import load_tokenizer
from calltune.types import BEHAVIORS, Behavior, Completion, Example, Message, Sample

TOOLS = (BOOK, WEATHER, SEND)
BOOKED = call("book_table", city="Paris", people=2)
ASKS, REFUSES, ANSWERS = "Which city should it be in?", "I'm sorry, I can't do that.", "Paris is in France."
BEST: Mapping[Behavior, Message] = {
    "direct": Message("assistant", ANSWERS),
    "tool_call": BOOKED,
    "request_for_info": Message("assistant", ASKS),
    "cannot_answer": Message("assistant", REFUSES),
}


def question(behavior: Behavior) -> Question:
    return Question(Sample("q", "grpo", (user("Please."),), TOOLS, behavior), BEST[behavior], behavior)


def said(message: Message | str, status: Any = "ok") -> Completion:
    message = Message("assistant", message) if isinstance(message, str) else message
    return Completion("q", message if status == "ok" else None, message.content, status)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (BOOKED, Reward(0, 0.25, 0.25, 0.5)),
        (call("book_table", city="paris", people=2), Reward(0, 0.25, 0.25, 0.5)),
        (call("book_table", city="Rome", people=2), Reward(0, 0.25, 0.25, 0)),
        (call("get_weather", city="Paris"), Reward(0, 0.25, 0.25, 0)),
        (Message("assistant", "", BOOKED.tool_calls * 2), Reward(0, 0.25, 0.25, 0)),
        (call("book_table", city="Paris"), Reward(0, 0.25, 0, 0)),
        (call("book_table", city="Paris", people="2"), Reward(0, 0.25, 0, 0)),
        (call("book_hotel", city="Paris", people=2), Reward(0, 0.25, 0, 0)),
        (ASKS, Reward()),
        (REFUSES, Reward()),
    ],
)
def test_where_a_call_is_right_it_earns_step_by_step(answer: Message | str, expected: Reward) -> None:
    assert reward(question("tool_call"), said(answer)) == expected


@pytest.mark.parametrize("right", ["direct", "request_for_info", "cannot_answer"])
@pytest.mark.parametrize("shown", BEHAVIORS)
def test_where_a_text_is_right_its_behaviour_is_all(right: Behavior, shown: Behavior) -> None:
    assert reward(question(right), said(BEST[shown])) == Reward(behavior=float(right == shown))


def test_a_text_that_refuses_and_asks_is_a_refusal_and_earns_nothing_as_a_question() -> None:
    both = said("I can't see the city. Which city should it be in?")
    assert reward(question("cannot_answer"), both) == Reward(behavior=1)
    assert reward(question("request_for_info"), both) == Reward()


@pytest.mark.parametrize("right", BEHAVIORS)
@pytest.mark.parametrize("status", ["malformed", "truncated"])
def test_what_nobody_can_read_is_worse_than_any_answer(right: Behavior, status: str) -> None:
    found = reward(question(right), said("<tool_call>{", status))
    assert found == Reward(readable=-1)
    everything = (reward(question(right), said(answer)) for answer in BEST.values())
    assert all(other is not None and other.total > found.total for other in everything)


def test_of_an_answer_from_no_numbers_nothing_is_learned() -> None:
    assert reward(question("direct"), said("", "error")) is None


def earned_by(policy: Callable[[Question], Message | str], questions: list[Question]) -> float:
    """The mean reward of a policy over questions of which each behaviour is asked equally often."""
    totals = defaultdict[str, list[float]](list)
    for each in questions:
        found = reward(each, said(policy(each)))
        assert found is not None
        totals[each.behavior].append(found.total)
    return mean(map(mean, totals.values()))


def best_of(shown: Behavior) -> Callable[[Question], Message | str]:
    """Shows one behaviour to every question, as well as can be: where a call is right, it is the right one."""
    return lambda asked: asked.gold if asked.behavior == shown else BEST[shown]


def test_whoever_always_does_the_same_earns_the_same_whatever_it_is() -> None:
    # Rows of very different numbers, as data has them: most are calls.
    rows = [as_question(row) for row in synthetic.examples(0, 80)]
    calls = [row for row in rows if row.behavior == "tool_call"]
    questions = calls * 5 + [row for row in rows if row.behavior == "direct"] + rows[::7]
    assert {row.behavior for row in questions} == {*BEHAVIORS}
    means = {shown: earned_by(best_of(shown), questions) for shown in BEHAVIORS}
    assert means == pytest.approx(dict.fromkeys(BEHAVIORS, 0.25))

    # Never to call, with one of the other behaviours drawn in turn, is no better, and calling at random is worse.
    texts: list[Behavior] = ["direct", "request_for_info", "cannot_answer"]
    never = mean(earned_by(best_of(shown), questions) for shown in texts)
    assert never == pytest.approx(means["tool_call"])
    assert earned_by(lambda _: call("get_weather", city="Paris"), questions) < 0.25
    assert earned_by(lambda asked: asked.gold, questions) == pytest.approx(1)
    # It is the balance that does it: over the rows as they come, always calling would pay.
    totals = [reward(each, said(best_of("tool_call")(each))) for each in questions]
    assert mean(each.total for each in totals if each) > 0.5


@pytest.fixture
def chat(tiny_model: Path) -> Chat:
    return Chat(load_tokenizer(str(tiny_model)))


def test_trl_is_given_one_function_a_part_and_is_told_what_is_earned_of_each_behaviour(chat: Chat) -> None:
    rows = list(synthetic.examples(0, 8))
    ends = [chat.tokenizer.convert_tokens_to_ids(chat.ends[0])]
    judge, logged = Judge(chat, ends, rows), defaultdict[str, list[float]](list)

    def tokens(row: Example) -> list[int]:
        return chat.tokenizer(chat.answer(row.prompt, row.tools, row.answers[0]), add_special_tokens=False).input_ids

    answers = [tokens(row) for row in rows]
    answers[0] = answers[0][:-1]  # cut off before its end
    functions = judge.functions()
    assert [function.__name__ for function in functions] == list(PARTS)
    given = {"completion_ids": answers, "number": [*range(8)], "prompts": [], "trainer_state": None}
    found = [function(log_metric=lambda name, value: logged[name].append(value), **given) for function in functions]
    assert [sum(parts) for parts in zip(*found, strict=True)] == [TABLE["unreadable"], *[1.0] * 7]
    assert logged["unreadable"] == [1.0, *[0.0] * 7]
    assert sum(map(len, logged.values())) == 16
    assert logged[f"earned/{rows[0].behavior}"][0] == -1.0
