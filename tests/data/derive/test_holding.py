"""Conversations are held out whole, and no behaviour with all of its conversations."""

from collections import Counter
from collections.abc import Collection

import pytest
from toy_calls import call, row, user

from calltune.config.data import DeriveConfig
from calltune.data.derive import Conversations
from calltune.types import Behavior, Example, Message

CALL, REFUSAL = call("play_song", title="x"), Message("assistant", "I can't do that.")


def answer(name: str, question: str, turn: int = 0, behavior: Behavior = "tool_call") -> Example:
    last = CALL if behavior == "tool_call" else REFUSAL
    made = row(name, user(question), *[user("more")] * turn, last)
    return Example(made.id, made.source, made.messages, made.tools, behavior)


def held(rows: list[Example], settings: DeriveConfig, seed: int = 0) -> list[str]:
    conversations = Conversations(seed)
    numbers = [conversations.add(each) for each in rows]
    chosen: Collection[float] = conversations.held_out(settings)
    return [each.id for each, number in zip(rows, numbers, strict=True) if number in chosen]


def test_one_conversation_is_held_out_whole() -> None:
    steps = [answer(f"{n}#{turn}", f"Question {n}", turn) for n in range(40) for turn in range(3)]
    kept = held(steps, DeriveConfig(held_out=0.4))
    assert Counter(step.split("#")[0] for step in kept) == dict.fromkeys({step.split("#")[0] for step in kept}, 3)
    assert len(kept) == 3 * 16
    assert kept == held(steps, DeriveConfig(held_out=0.4)) != held(steps, DeriveConfig(held_out=0.4), seed=1)
    assert held(steps, DeriveConfig(held_out=0)) == []


@pytest.mark.parametrize(("number", "share"), [(5, 0.3), (60, 0.3), (100, 0.2), (300, 0.1)])
def test_few_conversations_give_more_of_them(number: int, share: float) -> None:
    rows = [answer(str(n), f"Question {n}") for n in range(number)]
    assert len(held(rows, DeriveConfig())) == round(share * number)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rare", "kept"), [(1, 0), (2, 1), (6, 2), (20, 6)])
def test_no_behaviour_is_held_out_whole(rare: int, kept: int, seed: int) -> None:
    rows = [answer(str(n), f"Question {n}", behavior="cannot_answer" if n < rare else "tool_call") for n in range(60)]
    # The rarest decides for a conversation that shows several.
    rows += [answer(f"{n}+", f"Question {n}", 1) for n in range(rare)]
    out = held(rows, DeriveConfig(), seed)
    assert sum(name.isdigit() and int(name) < rare for name in out) == kept
    assert held(rows, DeriveConfig(held_out=0.99), seed) != [each.id for each in rows]
