import random

import pytest
from toy_calls import ALL, WEATHER, tool

from calltune.calling.behavior import text_behavior
from calltune.data.derive.chatting import CHATTING
from calltune.data.derive.direct import small_talk_for
from calltune.data.derive.knowledge import KNOWLEDGE

PAIRS = [*CHATTING, *(pair for pairs in KNOWLEDGE.values() for pair in pairs)]


def asked(*tools, held_out: bool = False, number: int = 400) -> set[str]:
    rng = random.Random(0)
    found = [small_talk_for(tools, rng, held_out=held_out) for _ in range(number)]
    return {pair[0] for pair in found if pair}


def test_there_is_enough_to_talk_about() -> None:
    assert len({question for question, _ in PAIRS}) == len(PAIRS) >= 150
    assert len(asked(*ALL)) > 120


@pytest.mark.parametrize("held_out", [False, True])
def test_every_answer_reads_as_one(held_out: bool) -> None:
    rng = random.Random(1)
    answers = {small_talk_for([], rng, held_out=held_out)[1] for _ in range(4000)}
    assert len(answers) >= 30
    assert not {answer for answer in answers if text_behavior(answer) != "direct"}
    assert not {answer for _, answer in PAIRS if text_behavior(answer) != "direct"}


def test_held_out_talk_is_not_training_s() -> None:
    def plain(questions: set[str]) -> set[str]:
        return {question for question, _ in PAIRS if any(q.endswith(question) for q in questions)}

    training, kept = asked(number=4000), asked(held_out=True, number=4000)
    assert plain(training)
    assert plain(kept)
    assert not plain(training) & plain(kept)


def test_what_a_tool_could_do_is_not_talked_about() -> None:
    calculator = tool("calculate", "Evaluate a math expression.", ("expression",), expression="string")
    numbers = {question for question, _ in KNOWLEDGE["numbers"]}
    assert {q for q in asked() for n in numbers if q.endswith(n)}
    assert not {q for q in asked(calculator) for n in numbers if q.endswith(n)}
    assert not {q for q in asked(WEATHER) if "weather" in q.lower()}


def test_a_tool_that_knows_all_leaves_greetings() -> None:
    search = tool("web_search", "Search the web for any question.", ("query",), query="string")
    greetings = {question for question, _ in CHATTING}
    assert all(any(q.endswith(greeting) for greeting in greetings) for q in asked(search))
    assert asked(search)
