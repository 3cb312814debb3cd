"""Multiple-choice questions about held-out conversations, in When2Call's test layout."""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from calltune.config.data import DeriveConfig
from calltune.data.derive.making import make
from calltune.data.derive.material import Material
from calltune.data.derive.negatives import BEHAVIOR_NEGATIVES
from calltune.data.derive.rules import Derived, Workshop
from calltune.data.question_text import answer_text, tool_text
from calltune.data.randomness import unit_interval
from calltune.types import BEHAVIORS, Behavior, Example, Message, Preference, plain

_WRONG: dict[Behavior, str] = {
    "direct": "made_up",
    "tool_call": "called",
    "request_for_info": "asked",
    "cannot_answer": "refused",
}


def questions(rows: Sequence[Example | Preference], settings: DeriveConfig, seed: int) -> Iterator[dict[str, Any]]:
    """Yield at most `num_questions` questions; none of their wordings and small talk is one of `derive`'s.

    The behaviours come equally often. A behaviour of which no question can be made does not come at all. A conversation
    of several messages stands in `messages`, and its last message also in `question`.

    Args:
        rows: conversations of which nothing is trained.
    """
    # No model rewrites questions here, because a test must not depend on what one writes today.
    shop = Workshop(
        settings.model_copy(update={"model": None, "other_tools": 0.0}), seed, Material(rows), held_out=True
    )
    originals = [Derived(case.row, case) for case in shop.material.deciding]
    complete: dict[Behavior, list[dict[str, Any]]] = {behavior: [] for behavior in BEHAVIORS}
    made = [*originals, *make(shop, Counter())]
    for derived in sorted(made, key=lambda derived: unit_interval(seed, "question", derived.row.id)):
        same_behavior = complete[derived.row.behavior]
        if len(same_behavior) < -(-settings.num_questions // len(BEHAVIORS)) and (question := _question(derived, shop)):
            same_behavior.append(question)
    filled = [same_behavior for same_behavior in complete.values() if same_behavior]
    for place in range(min(map(len, filled), default=0)):
        yield from (same_behavior[place] for same_behavior in filled)


def _question(derived: Derived, shop: Workshop) -> dict[str, Any] | None:
    """Return the row with its right answer and three wrong ones.

    Return None where one of the answers cannot be made or is not one call.
    """
    row, case = derived.row, derived.case
    answers: dict[Behavior, Message] = {row.behavior: row.answers[0]}
    for behavior, kind in _WRONG.items():
        if behavior == row.behavior:
            continue
        answer = BEHAVIOR_NEGATIVES[kind](derived, shop, shop.chance(f"question {kind} {row.id}", case))
        if answer is None:
            return None
        answers[behavior] = answer
    if len(answers["tool_call"].tool_calls) != 1:
        return None
    offered = row.behavior in ("tool_call", "request_for_info")
    question: dict[str, Any] = {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{shop.seed} {row.id}")),
        "source": row.source,
        "source_id": row.id,
        "question": row.prompt[-1].content,
        "correct_answer": row.behavior,
        "answers": {behavior: answer_text(answers[behavior]) for behavior in BEHAVIORS},
        "target_tool": tool_text(case.target) if offered else None,
        "tools": [tool_text(tool) for tool in row.tools],
    }
    if len(row.prompt) > 1:
        question["messages"] = [plain(message) for message in row.prompt]
    if row.behavior == "request_for_info":
        question["orig_question"] = case.prompt[-1].content
        question["held_out_param"] = derived.missing
    if row.behavior == "cannot_answer":
        question["orig_tools"] = [tool_text(tool) for tool in case.row.tools]
    return question
