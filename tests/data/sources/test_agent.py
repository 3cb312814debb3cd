"""The made-up agent: splits share nothing but its tools, answers are what they are called, calls keep schemas."""

import random
import re
from collections import Counter
from itertools import combinations, islice
from typing import Any

import pytest

from calltune.calling.behavior import message_behavior, text_behavior
from calltune.calling.schema import call_problems
from calltune.data.sources.agent import rows
from calltune.data.sources.agent.source import Settings, questions, read
from calltune.data.sources.agent.tools import ABILITIES, HELD_OUT, Ability
from calltune.data.sources.agent.values import SPLITS, Split, draw
from calltune.data.sources.agent.words import Words, words_of
from calltune.types import BEHAVIORS, Example, Preference

SAID_SO = ("phone_number", "blocked_number", "postcode", "invoice_number", "since", "country", "plan", "gigabytes")
OPEN_KINDS = ("phone_number", "invoice_number", "postcode", "date", "since", "gigabytes", "country", "operator")


def is_said(value: Any, text: str) -> bool:
    return re.search(rf"\b{re.escape(str(value))}\b", text) is not None


def texts_of(words: Words) -> set[str]:
    found = {*words.requests, *words.replies, *words.failures, *words.claims, *words.topics, *words.refusals}
    for table in (words.commands, words.slots, words.asks, words.reports):
        found |= {text for texts in table.values() for text in texts}
    found |= {text for pair in words.talk for text in pair}
    return {re.sub(r"\W+", " ", re.sub(r"\{(\w+)\}", r" \1 ", text)).strip().lower() for text in found}


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_splits_share_no_wording_no_value_and_no_tool_of_their_own(one: Split, other: Split) -> None:
    assert not texts_of(words_of(one)) & texts_of(words_of(other))
    rng = random.Random(3)
    values = [{(kind, draw(rng, kind, split)[1]) for kind in OPEN_KINDS for _ in range(2000)} for split in (one, other)]
    assert not values[0] & values[1]
    assert not {a.tool.name for a in HELD_OUT[one]} & {a.tool.name for a in (*HELD_OUT[other], *ABILITIES)}


@pytest.mark.parametrize("split", SPLITS)
def test_every_wording_is_what_it_is_called(split: Split) -> None:
    words = words_of(split)
    assert {text_behavior(text) for texts in words.asks.values() for text in texts} == {"request_for_info"}
    assert {text_behavior(text.format(act="do it")) for text in words.refusals} == {"cannot_answer"}
    plain = [*words.claims, *words.failures, *(reply for _, reply in words.talk)]
    plain += [text for texts in words.reports.values() for text in texts]
    assert {text_behavior(text) for text in plain} == {"direct"}


@pytest.mark.parametrize(
    ("split", "is_unseen"), [("train", False), *((s, u) for s in SPLITS[1:] for u in (True, False))]
)
def test_answers_are_right_and_calls_keep_their_schemas(split: Split, is_unseen: bool) -> None:
    offered: tuple[Ability, ...] = ABILITIES + (HELD_OUT[split] if is_unseen else ())
    tools = {ability.tool.name: ability for ability in offered}
    seen = Counter[str]()
    for talk in islice(rows.conversations(1, split, "test", is_unseen), 150):
        for turn in talk.turns:
            seen[turn.behavior] += 1
            for behavior, answer in turn.answers.items():
                assert message_behavior(answer) == behavior
            (call,) = turn.answers["tool_call"].tool_calls
            assert call_problems(call, [ability.tool for ability in offered]) == []
            said = " ".join(message.content for message in turn.before[1:])
            if turn.behavior == "tool_call":
                # What a call holds was said; dates and choices are said in words of their own.
                assert all(is_said(call.arguments[name], said) for name in SAID_SO if name in call.arguments)
            if turn.behavior == "request_for_info":
                needed = [p.name for p in tools[call.name].parameters if p.is_required]
                assert not all(is_said(call.arguments[name], said) for name in needed)
    assert seen["tool_call"] > 40
    assert is_unseen or set(seen) == set(BEHAVIORS)


def test_a_seed_gives_the_same_rows_again_and_no_prompt_twice() -> None:
    settings = Settings(num_conversations=60, num_pairs=48)
    every = list(read(settings))
    assert every == list(read(settings))
    assert every != list(read(settings.model_copy(update={"seed": 1})))
    examples = [row for row in every if isinstance(row, Example)]
    prompts = Counter(tuple(m.content for m in row.prompt) for row in examples)
    assert max(prompts.values()) == 1
    pairs = [row for row in every if isinstance(row, Preference)]
    confusions = Counter((row.behavior, message_behavior(row.rejected)) for row in pairs)
    assert set(confusions.values()) == {4}
    assert len(confusions) == 12
    assert {len(row.tools) for row in every if not hasattr(row, "row")} == {len(ABILITIES)}
    control = list(read(settings.model_copy(update={"as_examples": True})))
    assert [row.answers[0] for row in control[-48:]] == [row.chosen for row in pairs]


def test_questions_about_unseen_tools_stand_apart() -> None:
    made = list(questions(Settings(num_questions=40, num_unseen=10, test_split="final")))
    assert Counter(row["source"] for row in made) == {"agent": 40, "agent_unseen_tools": 10}
    assert Counter(row["correct_answer"] for row in made[:40]) == dict.fromkeys(BEHAVIORS, 10)
    assert {len(row["tools"]) for row in made[:40]} == {10}
    assert {len(row["tools"]) for row in made[40:]} == {12}
    assert len({row["uuid"] for row in made}) == 50
    assert all(row["messages"][-1]["content"] == row["question"] for row in made)
