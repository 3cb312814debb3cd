"""The rules that turn a deciding call into a row of another behaviour, or say why they cannot."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from calltune.config.data import DeriveConfig
from calltune.data.derive import missing, wordings
from calltune.data.derive.direct import small_talk_for
from calltune.data.derive.material import Deciding, Material
from calltune.data.derive.tone import Tone
from calltune.data.derive.twins import twins
from calltune.data.randomness import generator
from calltune.types import Behavior, Example, Message, Tool


@dataclass(frozen=True, slots=True)
class Derived:
    """A row with what it was made from; `missing` is the argument that its question lacks ("" if it lacks none)."""

    row: Example
    case: Deciding
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every rule needs: the settings, the seed, all rows' material, and whether held-out wordings are used."""

    settings: DeriveConfig
    seed: int
    material: Material
    held_out: bool = False

    @property
    def tone(self) -> Tone:
        """The agent's own way to refuse and to ask; none for held-out questions, which share no wording with it."""
        return Tone() if self.held_out else self.material.tone

    def chance(self, rule: str, case: Deciding) -> random.Random:
        """Return the random numbers of one rule on one row."""
        return generator(self.seed, rule, case.row.id)


Rule = Callable[[Deciding, Workshop], Derived | str]


def cannot_answer(case: Deciding, shop: Workshop) -> Derived | str:
    """Take the tool and its near twins away; the right answer names the ability that is not there."""
    rng = shop.chance("cannot_answer", case)
    if any(call.name != case.target.name for call in case.answer.tool_calls):
        return "it calls several tools"
    removed = {case.target.name} | {
        tool.name for tool in twins(case.target, case.row.tools, shop.settings.twin_similarity)
    }
    if removed & case.called_before:
        return "the conversation has called the tool before"
    tools = [tool for tool in case.row.tools if tool.name not in removed]
    bare = rng.random() < shop.settings.no_tools and not case.called_before
    offered = [] if bare else _offered(tools, case, shop, rng, always=not tools)
    if not offered and not bare:
        return "no other tool would be left"
    answer = wordings.refusal(case.target, rng, held_out=shop.held_out, tone=shop.tone)
    if answer is None:
        return "no refusal can be worded"
    prompt, lacking = case.prompt, ""
    if rng.random() < shop.settings.incomplete and (shortened := _some_missing(case, shop, rng)):
        prompt, lacking = shortened
    return Derived(_row(case, "cannot_answer", (*prompt, answer), offered, "cannot_answer"), case, lacking)


def request_for_info(case: Deciding, shop: Workshop) -> Derived | str:
    """Take one required value out of the question; the right answer asks for it."""
    rng = shop.chance("request_for_info", case)
    if len(case.answer.tool_calls) > 1:
        return "it calls more than once"
    names = missing.missable(case)
    if not names:
        return "no required argument without a default"
    reasons = []
    for name in rng.sample(names, len(names)):
        outcome = _missing(case, name, shop.material)
        if not isinstance(outcome, str):
            return asking(case, name, outcome, shop)
        reasons.append(outcome)
    # A reason that a model could still mend comes first.
    return missing.NOT_LITERAL if missing.NOT_LITERAL in reasons else reasons[0]


def asking(case: Deciding, parameter: str, prompt: Sequence[Message], shop: Workshop) -> Derived | str:
    """Return the row of a cleaned prompt, or why it cannot be made."""
    rng = shop.chance("asking", case)
    answer = wordings.question(case.target, parameter, rng, held_out=shop.held_out, tone=shop.tone)
    if answer is None:
        return "no question can be worded"
    tools = _offered(list(case.row.tools), case, shop, rng)
    row = _row(case, "request_for_info", (*prompt, answer), tools, "request_for_info")
    return Derived(row, case, parameter)


def direct(case: Deciding, shop: Workshop) -> Derived | str:
    """Put small talk or a question of knowledge in the conversation's place; the tools are of no use for it."""
    rng = shop.chance("direct", case)
    tools = (
        [] if rng.random() < shop.settings.no_tools else _offered(_some(list(case.row.tools), (), rng), case, shop, rng)
    )
    pair = small_talk_for(tools, rng, held_out=shop.held_out)
    if pair is None:
        return "its tools could answer anything"
    system = tuple(message for message in case.prompt[:1] if message.role == "system")
    messages = (*system, Message("user", pair[0]), Message("assistant", pair[1]))
    return Derived(_row(case, "direct", messages, tools, "direct"), case)


def other_tools(case: Deciding, shop: Workshop) -> Derived | str:
    """Keep the call and change the tools beside it, so that the list of tools alone gives nothing away."""
    rng = shop.chance("other_tools", case)
    needed = case.called_before | {call.name for call in case.answer.tool_calls}
    tools = _offered(_some(list(case.row.tools), needed, rng), case, shop, rng, always=len(case.row.tools) < 3)
    if {tool.name for tool in tools} == {tool.name for tool in case.row.tools}:
        return "no other tool to add or to leave out"
    return Derived(_row(case, "other_tools", case.row.messages, tools, "tool_call"), case)


RULES: dict[str, Rule] = {
    "cannot_answer": cannot_answer,
    "request_for_info": request_for_info,
    "direct": direct,
    "other_tools": other_tools,
}
"""The rules by the name of their share in the settings."""


def _missing(case: Deciding, parameter: str, material: Material) -> tuple[Message, ...] | str:
    why_not = missing.why_not_missable(case, parameter)
    if why_not:
        return why_not
    prompt = missing.cleaned(case, parameter)
    if isinstance(prompt, str):
        return prompt
    return missing.problem(case, parameter, prompt, material) or prompt


def _some_missing(case: Deciding, shop: Workshop, rng: random.Random) -> tuple[tuple[Message, ...], str] | None:
    names = missing.missable(case)
    for name in rng.sample(names, len(names)):
        outcome = _missing(case, name, shop.material)
        if not isinstance(outcome, str):
            return outcome, name
    return None


def _some(tools: list[Tool], needed: Sequence[str] | set[str], rng: random.Random) -> list[Tool]:
    """Return some of the tools, at least one, with all that are needed."""
    num_kept = rng.randint(1, len(tools)) if tools else 0
    chosen = {tool.name for tool in rng.sample(tools, num_kept)} | set(needed)
    return [tool for tool in tools if tool.name in chosen]


def _offered(
    tools: list[Tool], case: Deciding, shop: Workshop, rng: random.Random, *, always: bool = False
) -> list[Tool]:
    """Return the tools in a new order, with tools of other rows where chance wants them."""
    order = [rng.random() for _ in range(rng.randint(1, shop.settings.max_distractors))]
    if always or rng.random() < shop.settings.distractors:
        beside = [*tools, *case.row.tools]
        tools = [*tools, *shop.material.distractors(beside, case.target, shop.settings.twin_similarity, order)]
    rng.shuffle(tools)
    return tools


def _row(
    case: Deciding, rule: str, messages: tuple[Message, ...], tools: Sequence[Tool], behavior: Behavior
) -> Example:
    return replace(
        case.row,
        id=f"{case.row.id}~{rule}",
        messages=messages,
        tools=tuple(tools),
        behavior=behavior,
        parent=case.row.id,
        rule=rule,
    )
