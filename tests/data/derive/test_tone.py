"""Derived answers speak as the agent itself does, where it has a way of speaking."""

import random
from collections import Counter
from dataclasses import replace

from toy_calls import BOOK, log, row, user

from calltune.calling.behavior import text_behavior
from calltune.config.data import DeriveConfig
from calltune.data.derive import derive, questions
from calltune.data.derive.tone import Tone, tone_of
from calltune.data.derive.wordings import bare_refusal, question, refusal
from calltune.types import Behavior, Example, Message, Preference

REFUSALS = (
    "Ahoy, I can't sail to the moon. Ask the harbour master.",
    "Ahoy, I can't paint your boat. Ask the harbour master.",
    "Ahoy, I can't lend you {money}. The bank is closed on Mondays.",
    "That is not possible, my friend.",
)
QUESTIONS = (
    "Aye! Could you tell me the port?",
    "Aye! Could you tell me your name?",
    "Aye! Could you tell me which day suits you best? {Any} will do.",
    "Where to?",
)
TONE = Tone(
    ("Ahoy, I can't {act}.", *["Ahoy, I can't {act}. Ask the harbour master."] * 2),
    ("Aye! Could you tell me {what}?",) * 3,
)


def own(texts: tuple[str, ...], behavior: Behavior) -> list[Example]:
    rows = [row(f"{behavior}:{n}", user(f"Question {n}"), Message("assistant", t)) for n, t in enumerate(texts)]
    return [replace(each, behavior=behavior) for each in rows]


OWN = [*own(REFUSALS, "cannot_answer"), *own(QUESTIONS, "request_for_info")]


def test_a_polite_end_and_a_second_half_stay() -> None:
    said = ("I can't paint; please write to us.", "I can't sail; please write to us.", "I can't sing; ask Ann.")
    assert tone_of(own(said, "cannot_answer")).refusals == (
        *["I can't {act}."],
        *["I can't {act}; please write to us."] * 2,
    )
    asked = ("What is your name, please?", "What is the day, please?")
    assert tone_of(own(asked, "request_for_info")).questions == ("What is {what}, please?",) * 2


def test_patterns_are_what_two_answers_share() -> None:
    assert tone_of(OWN) == TONE
    assert tone_of(OWN[:1]) == tone_of(log(12)) == Tone()
    # What was derived, or stands behind a result, is no tone of a talk with a user.
    assert tone_of([replace(each, rule="cannot_answer") for each in OWN]) == Tone()
    late = [replace(each, messages=(*each.prompt, Message("tool", "5"), each.messages[-1])) for each in OWN]
    assert tone_of(late) == Tone()


def test_most_answers_take_the_own_tone_and_each_reads_back() -> None:
    rng = random.Random(0)
    for make, behavior, begins in (
        (lambda: refusal(BOOK, rng, tone=TONE), "cannot_answer", "Ahoy, I can't book a table at a restaurant."),
        (lambda: bare_refusal(rng, tone=TONE), "cannot_answer", "Ahoy, I can't help with that."),
        (lambda: question(BOOK, "city", rng, tone=TONE), "request_for_info", "Aye! Could you tell me the city"),
    ):
        texts = [message.content for message in (make() for _ in range(200)) if message]
        assert len(texts) == 200
        assert {text_behavior(text) for text in texts} == {behavior}
        assert 130 < sum(text.startswith(begins) for text in texts) < 190


def test_right_and_wrong_answers_share_the_tone_and_held_out_questions_do_not() -> None:
    rows = [*log(24), *OWN]
    made = list(derive(rows, DeriveConfig(pairs=3), 0))
    kinds = Counter[tuple[str, bool]]()
    for each in made:
        if isinstance(each, Preference) and each.rule in ("refused", "asked"):
            kinds[each.rule, each.rejected.content.startswith(("Ahoy", "Aye"))] += 1
        if isinstance(each, Example) and each.rule in ("cannot_answer", "request_for_info"):
            kinds[each.rule, each.messages[-1].content.startswith(("Ahoy", "Aye"))] += 1
    for rule in ("refused", "asked", "cannot_answer", "request_for_info"):
        assert kinds[rule, True] > kinds[rule, False]
    asked = [each for each in questions(rows, DeriveConfig(), 0) if "asked" not in each]
    assert asked
    assert not [each for each in asked if any("Ahoy" in text or "Aye" in text for text in each["answers"].values())]
