"""Rows of the agent's conversations: examples, pairs, and held-out questions in When2Call's test layout."""

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from calltune.data.question_text import answer_text, tool_text
from calltune.data.sources.agent.talks import Talk, Turn, offered, out_of_scope, small_talk, task
from calltune.data.sources.agent.tools import HELD_OUT, Ability
from calltune.data.sources.agent.values import Split
from calltune.types import BEHAVIORS, Behavior, Example, Preference, plain

SOURCE = "agent"
UNSEEN = "agent_unseen_tools"
"""What rows and questions say they are from; the latter are about tools that training never saw."""

_KINDS = {"complete": 0.4, "incomplete": 0.3, "out of scope": 0.15, "small talk": 0.15}
_SECOND = 0.4  # of the conversations, that go on to another matter


def conversations(seed: int, split: Split, purpose: str, is_unseen: bool = False) -> Iterator[Talk]:
    """Yield conversations without end; no two have a turn with the same messages before it.

    Args:
        purpose: conversations of two purposes are drawn apart.
        is_unseen: whether they are about the tools that no other split has.
    """
    rng, taken = random.Random(f"{purpose} {split} {seed} {is_unseen}"), set[str]()
    abilities = offered(split, is_unseen)
    asked: tuple[Ability, ...] = HELD_OUT[split] if is_unseen else abilities
    while True:
        talk = Talk(rng, split, abilities)
        for _ in range(1 + (rng.random() < _SECOND and not is_unseen)):
            _add(talk, rng, asked, is_unseen)
        begun = {" | ".join(message.content for message in turn.before) for turn in talk.turns}
        if not begun & taken:
            taken |= begun
            yield talk


def _add(talk: Talk, rng: random.Random, asked: tuple[Ability, ...], is_unseen: bool) -> None:
    (kind,) = rng.choices(list(_KINDS), list(_KINDS.values()))
    if is_unseen and kind not in ("complete", "incomplete"):
        kind = rng.choice(("complete", "incomplete"))
    if kind == "out of scope":
        out_of_scope(talk)
    elif kind == "small talk":
        small_talk(talk)
    else:
        task(talk, rng.choice(asked), kind == "incomplete")


def examples(seed: int, num_conversations: int, split: Split = "train") -> Iterator[Example]:
    """Yield every answer of so many conversations, each with what was said before it."""
    tools = tuple(ability.tool for ability in offered(split, False))
    for number, talk in enumerate(islice(conversations(seed, split, "examples"), num_conversations)):
        for place, turn in enumerate(talk.turns, start=1):
            name = f"{SOURCE}-{split}-{seed}-{number}#{place}"
            yield Example(name, SOURCE, (*turn.before, turn.right), tools, turn.behavior)


def preferences(seed: int, num_pairs: int, split: Split = "train") -> Iterator[Preference]:
    """Yield pairs of the right answer and one of another behaviour; all twelve confusions come equally often."""
    tools = tuple(ability.tool for ability in offered(split, False))
    confusions: list[tuple[Behavior, Behavior]] = [
        (right, wrong) for right in BEHAVIORS for wrong in BEHAVIORS if wrong != right
    ]
    turns = _turns_by_behavior(seed, split, "preferences")
    for number in range(num_pairs):
        right, wrong = confusions[number % len(confusions)]
        turn = next(turns[right])
        name = f"{SOURCE}-{split}-{seed}-pair-{number}"
        yield Preference(name, SOURCE, turn.before, tools, turn.right, turn.answers[wrong], right)


def questions(seed: int, num_questions: int, split: Split, num_unseen: int) -> Iterator[dict[str, Any]]:
    """Yield questions, the four behaviours equally often, and behind them those about tools that training never saw."""
    turns = _turns_by_behavior(seed, split, "questions")
    for number in range(num_questions):
        yield _question(next(turns[BEHAVIORS[number % len(BEHAVIORS)]]), seed, number, split, False)
    unseen = _turns_by_behavior(seed, split, "questions", is_unseen=True)
    for number in range(num_unseen):
        behavior: Behavior = "request_for_info" if number % 2 else "tool_call"
        yield _question(next(unseen[behavior]), seed, number, split, True)


def _turns_by_behavior(
    seed: int, split: Split, purpose: str, is_unseen: bool = False
) -> dict[Behavior, Iterator[Turn]]:
    """Return the turns of conversations in which each behaviour is right; no conversation gives two."""

    def turns(behavior: Behavior) -> Iterator[Turn]:
        counts = Counter[str]()
        for talk in conversations(seed, split, f"{purpose} {behavior}", is_unseen):
            fitting = [turn for turn in talk.turns if turn.behavior == behavior and turn.before[-1].role == "user"]
            # One of small talk's few questions comes no more than a few times.
            for turn in talk.rng.sample(fitting, len(fitting))[:1]:
                question = turn.before[-1].content
                counts[question] += 1
                if counts[question] == 1 or len(turn.before) > 2:
                    yield turn

    return {behavior: turns(behavior) for behavior in BEHAVIORS}


def _question(turn: Turn, seed: int, number: int, split: Split, is_unseen: bool) -> dict[str, Any]:
    source = UNSEEN if is_unseen else SOURCE
    name = f"{source}-{split}-{seed}-question-{number}"
    return {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        "source": source,
        "source_id": name,
        "question": turn.before[-1].content,
        "messages": [plain(message) for message in turn.before],
        "correct_answer": turn.behavior,
        "answers": {behavior: answer_text(turn.answers[behavior]) for behavior in BEHAVIORS},
        "target_tool": None,
        "tools": [tool_text(ability.tool) for ability in offered(split, is_unseen)],
    }
