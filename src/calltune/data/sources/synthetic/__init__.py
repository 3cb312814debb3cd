"""The embedded default source: questions to a made-up assistant, the right behaviour decided by rule.

A request whose tool is offered and whose required values are all given is a tool call; with a required value missing
it is a question back; without the tool it cannot be answered; and small talk needs no tool. The splits "train",
"development" and "final" share no tool, no wording and no argument value.
"""

import random
import uuid
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from calltune.data.question_text import answer_text, tool_text
from calltune.data.sources.synthetic.situations import Situation, situation
from calltune.data.sources.synthetic.values import SPLITS, Split
from calltune.types import BEHAVIORS, Behavior, Example, Message, Preference

SOURCE = "synthetic"

# A question's checksum modulo ten gives a remainder, which decides what the question is for.
EXAMPLE_SHARES = (0, 1, 2, 3, 4, 5, 6)
PREFERENCE_SHARES = (7, 8, 9)

# All twelve confusions come equally often. Each behaviour is passed over as often as it is preferred, so the pairs
# teach when a behaviour is right and favour none.
REJECTED: dict[Behavior, tuple[Behavior, ...]] = {
    behavior: tuple(other for other in BEHAVIORS if other != behavior) for behavior in BEHAVIORS
}


def _split(name: str) -> Split:
    for split in SPLITS:
        if split == name:
            return split
    raise ValueError(f"no such split: {name} (there are {', '.join(SPLITS)})")


def _distinct(seed: int, split: str, purpose: str, shares: tuple[int, ...]) -> Iterator[Situation]:
    """Yield situations without end; no question comes twice.

    The four behaviours come in turn, in an order that is shuffled anew each time. A question belongs to the purpose
    whose `shares` hold its checksum's remainder, so purposes share no question.
    """
    rng = random.Random(f"{purpose} {split} {seed}")
    taken: set[str] = set()
    while True:
        for behavior in rng.sample(BEHAVIORS, len(BEHAVIORS)):
            drawn = situation(rng, behavior, _split(split))
            while drawn.question in taken or zlib.crc32(drawn.question.encode()) % 10 not in shares:
                drawn = situation(rng, behavior, _split(split))
            taken.add(drawn.question)
            yield drawn


def examples(seed: int, num_examples: int, split: str = "train") -> Iterator[Example]:
    """Yield questions with their right answer; the four behaviours come equally often."""
    for number, drawn in enumerate(islice(_distinct(seed, split, "examples", EXAMPLE_SHARES), num_examples)):
        yield Example(
            id=f"{SOURCE}-{split}-{seed}-{number}",
            source=SOURCE,
            messages=(Message("user", drawn.question), drawn.answers[drawn.behavior]),
            tools=drawn.tools,
            behavior=drawn.behavior,
        )


def preferences(seed: int, num_pairs: int, split: str = "train") -> Iterator[Preference]:
    """Yield pairs of the right answer and a wrong one; every twelve pairs hold each of the twelve confusions once.

    None of their questions is one of `examples`.
    """
    turns: dict[Behavior, int] = dict.fromkeys(BEHAVIORS, 0)
    situations = _distinct(seed, split, "preferences", PREFERENCE_SHARES)
    for number, drawn in enumerate(islice(situations, num_pairs)):
        wrong = REJECTED[drawn.behavior][turns[drawn.behavior] % len(REJECTED[drawn.behavior])]
        turns[drawn.behavior] += 1
        yield Preference(
            id=f"{SOURCE}-{split}-{seed}-pair-{number}",
            source=SOURCE,
            prompt=(Message("user", drawn.question),),
            tools=drawn.tools,
            chosen=drawn.answers[drawn.behavior],
            rejected=drawn.answers[wrong],
            behavior=drawn.behavior,
        )


def questions(seed: int, num_questions: int, split: str) -> Iterator[dict[str, Any]]:
    """Yield multiple-choice rows in the published layout of When2Call's test file.

    The four behaviours come equally often.
    """
    every = EXAMPLE_SHARES + PREFERENCE_SHARES
    for number, drawn in enumerate(islice(_distinct(seed, split, "questions", every), num_questions)):
        name = f"{SOURCE}-{split}-{seed}-question-{number}"
        offered = drawn.target is not None and drawn.behavior != "cannot_answer"
        yield {
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
            "source": SOURCE,
            "source_id": name,
            "question": drawn.question,
            "correct_answer": drawn.behavior,
            "answers": {behavior: answer_text(drawn.answers[behavior]) for behavior in BEHAVIORS},
            "target_tool": tool_text(drawn.target) if drawn.target is not None and offered else None,
            "tools": [tool_text(tool) for tool in drawn.tools],
        }
