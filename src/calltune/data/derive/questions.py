"""Questions about held-out conversations, in When2Call's test layout: multiple-choice ones, and what an agent said.

Of a multiple-choice question one answer is right and the others are made. What an agent said itself has no wrong
answers beside it: such a question is marked `"asked": "freely"`, and only benchmarks ask it for which a model writes.
"""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from calltune.calling.schema import call_problems
from calltune.config.data import DeriveConfig
from calltune.data.derive.making import make
from calltune.data.derive.material import Material
from calltune.data.derive.negatives import BEHAVIOR_NEGATIVES
from calltune.data.derive.rules import RULES, Derived, Workshop
from calltune.data.question_text import answer_text, tool_text
from calltune.data.randomness import unit_interval
from calltune.types import BEHAVIORS, Behavior, Example, Message, Preference, plain

_WRONG: dict[Behavior, str] = {
    "direct": "made_up",
    "tool_call": "called",
    "request_for_info": "asked",
    "cannot_answer": "refused",
}
_FEW = 10
"""Questions of a behaviour up to which it may have more than the rarest one has: so few tell little as it is."""


def questions(rows: Sequence[Example | Preference], settings: DeriveConfig, seed: int) -> Iterator[dict[str, Any]]:
    """Yield at most `num_questions` multiple-choice questions, then at most as many that are asked freely.

    None of the multiple-choice ones' wordings and small talk is one of `derive`'s. Their behaviours come equally often,
    where there are ten of each; a behaviour of which no question can be made does not come at all. A conversation of
    several messages stands in `messages`, and its last message also in `question`.

    Args:
        rows: conversations of which nothing is trained.
    """
    # All is made of them that can be: they are few. No model rewrites questions here, because a test must not depend on
    # what one writes today.
    shares = {name: float(getattr(settings, name) > 0) for name in RULES} | {"other_tools": 0.0}
    shop = Workshop(settings.model_copy(update={"model": None, **shares}), seed, Material(rows), held_out=True)
    originals = [Derived(case.row, case) for case in shop.material.deciding]
    complete: dict[Behavior, list[dict[str, Any]]] = {behavior: [] for behavior in BEHAVIORS}
    made = [*originals, *make(shop, Counter())]
    most = -(-settings.num_questions // len(BEHAVIORS))
    for derived in sorted(made, key=lambda derived: unit_interval(seed, "question", derived.row.id)):
        same_behavior = complete[derived.row.behavior]
        if len(same_behavior) < most and (question := _question(derived, shop)):
            same_behavior.append(question)
    filled = [same_behavior for same_behavior in complete.values() if same_behavior]
    number = max(min(map(len, filled), default=0), _FEW)
    chosen = [each[place] for place in range(number) for each in filled if place < len(each)]
    yield from chosen
    yield from _freely_asked(rows, Counter(each["correct_answer"] for each in chosen), chosen, most, seed)


def _freely_asked(
    rows: Sequence[Example | Preference],
    counts: Counter[str],
    chosen: Sequence[dict[str, Any]],
    most: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Yield the agent's own answers to a user as questions, at most `most` of a behaviour with those chosen before.

    Calls come last, and no more of them than of the most frequent of the others: logs have plenty.
    """
    taken = {question["source_id"] for question in chosen}
    fitting = [row for row in rows if isinstance(row, Example) and row.id not in taken and _is_a_question(row)]
    fitting.sort(key=lambda row: (row.behavior == "tool_call", unit_interval(seed, "question", row.id)))
    for row in fitting:
        others = max((counts[behavior] for behavior in BEHAVIORS if behavior != "tool_call"), default=0)
        if counts[row.behavior] < (min(most, others) if row.behavior == "tool_call" else most):
            counts[row.behavior] += 1
            answer: dict[Behavior, str] = {row.behavior: answer_text(row.answers[0])}
            yield _written(row, seed, answer) | {"asked": "freely"}


def _is_a_question(row: Example) -> bool:
    """Return whether a row's answer is one to a user, and one that can be told to be right."""
    answer, last = row.answers[0], row.prompt[-1:]
    if not last or last[0].role != "user" or not last[0].content.strip():
        return False
    if answer.tool_calls:
        return len(answer.tool_calls) == 1 and not call_problems(answer.tool_calls[0], row.tools)
    return bool(answer.content.strip())


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
    question = _written(row, shop.seed, {behavior: answer_text(answers[behavior]) for behavior in BEHAVIORS})
    question["target_tool"] = tool_text(case.target) if offered else None
    if row.behavior == "request_for_info":
        question["orig_question"] = case.prompt[-1].content
        question["held_out_param"] = derived.missing
    if row.behavior == "cannot_answer":
        question["orig_tools"] = [tool_text(tool) for tool in case.row.tools]
    return question


def _written(row: Example, seed: int, answers: dict[Behavior, str]) -> dict[str, Any]:
    question: dict[str, Any] = {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed} {row.id}")),
        "source": row.source,
        "source_id": row.id,
        "question": row.prompt[-1].content,
        "correct_answer": row.behavior,
        "answers": answers,
        "target_tool": None,
        "tools": [tool_text(tool) for tool in row.tools],
    }
    if len(row.prompt) > 1:
        question["messages"] = [plain(message) for message in row.prompt]
    return question
