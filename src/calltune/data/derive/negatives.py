"""Calls that are wrong in one known way, and answers of the wrong behaviour, for the rejected side of a pair."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from calltune.calling.arguments import argument_schemas, required_arguments
from calltune.calling.schema import call_problems
from calltune.data.derive import wordings
from calltune.data.derive.material import Material
from calltune.data.derive.rules import Derived, Workshop
from calltune.data.derive.twins import similarity
from calltune.data.derive.values import is_told, same_value
from calltune.data.derive.vocabulary import CANONICAL, tokens
from calltune.types import Message, Tool, ToolCall

Negative = Callable[[Derived, Workshop, random.Random], Message | None]


def refused(made: Derived, shop: Workshop, rng: random.Random) -> Message | None:
    """Return a refusal of what could be done."""
    if made.row.behavior == "direct":
        return wordings.bare_refusal(rng, held_out=shop.held_out, tone=shop.tone)
    return wordings.refusal(made.case.target, rng, held_out=shop.held_out, tone=shop.tone)


def asked(made: Derived, shop: Workshop, rng: random.Random) -> Message | None:
    """Return a question for what was told, or for what would not help."""
    tool = made.case.target
    if made.row.behavior == "direct" and made.row.tools:
        tool = rng.choice(made.row.tools)
    names = [name for name in argument_schemas(tool.parameters) if name != made.missing]
    if made.row.behavior == "tool_call":
        # What was not told might be worth asking for, so what was told is preferred.
        names = [name for name in names if name in made.case.call.arguments] or names
    if not names:
        return None
    return wordings.question(tool, rng.choice(names), rng, held_out=shop.held_out, tone=shop.tone)


def made_up(made: Derived, shop: Workshop, rng: random.Random) -> Message | None:
    """Return a claim that all is done, though nothing was called."""
    return wordings.claim(made.case.target, rng, held_out=shop.held_out)


def called(made: Derived, shop: Workshop, rng: random.Random) -> Message | None:
    """Return a call where none is right.

    It is the true call with a made-up value, a call of a missing tool, or a call of one that is offered.
    """
    behavior = made.row.behavior
    if behavior == "request_for_info" or (behavior == "cannot_answer" and (not made.row.tools or rng.random() < 0.5)):
        return made.case.answer
    if not made.row.tools:
        return made.case.answer if behavior == "direct" else None
    for tool in rng.sample(made.row.tools, len(made.row.tools)):
        call = _plausible(tool, made.case.call, shop.material, rng)
        if call is not None:
            return Message("assistant", tool_calls=(call,))
    return None


def wrong_tool(made: Derived, shop: Workshop, rng: random.Random) -> Message | None:
    """Return a call of another tool on offer, which is no twin of the right one, with arguments that fit it."""
    for tool in rng.sample(made.row.tools, len(made.row.tools)):
        if tool.name == made.case.target.name or tool.name in {call.name for call in _calls(made)}:
            continue
        if similarity(tool, made.case.target) >= shop.settings.twin_similarity:
            continue
        call = _plausible(tool, made.case.call, shop.material, rng)
        if call is not None:
            return _instead(made, call)
    return None


def missing_argument(made: Derived, shop: Workshop, rng: random.Random) -> Message | None:
    """Return the right call without one of its required arguments."""
    call = made.case.call
    names = [name for name in required_arguments(made.case.target.parameters) if name in call.arguments]
    if not names:
        return None
    left_out = rng.choice(names)
    return _instead(made, ToolCall(call.name, {key: value for key, value in call.arguments.items() if key != left_out}))


def altered_value(made: Derived, shop: Workshop, rng: random.Random) -> Message | None:
    """Return the right call with one value changed.

    The new value has the same type and fits the schema, and the conversation does not hold it.
    """
    call, tool = made.case.call, made.case.target
    said = "\n".join(message.content for message in made.row.prompt)
    names = list(call.arguments)
    for name in rng.sample(names, len(names)):
        value = call.arguments[name]
        others = _alternatives(tool, name, value, shop.material)
        for other in rng.sample(others, min(8, len(others))):
            if _same_or_part(value, other) or (not isinstance(other, bool) and is_told(said, other)):
                continue
            changed = ToolCall(call.name, {**call.arguments, name: other})
            if not call_problems(changed, made.row.tools):
                return _instead(made, changed)
    return None


def invented_tool(made: Derived, shop: Workshop, rng: random.Random) -> Message | None:
    """Return the right arguments for a tool that is not there, under a name that could be one."""
    name = made.case.target.name
    near = [other for other in _invented_names(name) if other not in shop.material.names]
    return _instead(made, ToolCall(rng.choice(near), made.case.call.arguments)) if near else None


BEHAVIOR_NEGATIVES: dict[str, Negative] = {
    "called": called,
    "asked": asked,
    "refused": refused,
    "made_up": made_up,
}
CALL_NEGATIVES: dict[str, Negative] = {
    "wrong_tool": wrong_tool,
    "missing_argument": missing_argument,
    "altered_value": altered_value,
    "invented_tool": invented_tool,
}


def _calls(made: Derived) -> tuple[ToolCall, ...]:
    return made.case.answer.tool_calls


def _instead(made: Derived, call: ToolCall) -> Message:
    """Return the answer with another first call."""
    return Message("assistant", made.case.answer.content, (call, *_calls(made)[1:]))


def _same_or_part(one: Any, other: Any) -> bool:
    if same_value(one, other):
        return True
    first, second = (str(value).strip().casefold() for value in (one, other))
    return isinstance(one, str) and (first in second or second in first)


def _alternatives(tool: Tool, name: str, value: Any, material: Material) -> list[Any]:
    """Return other values of the argument: those that its schema lists, else what other rows gave.

    Where there are few of a number, numbers near by are added.
    """
    schema = argument_schemas(tool.parameters).get(name, {})
    if isinstance(schema.get("enum"), list | tuple):
        values = list(schema["enum"])
    elif isinstance(value, bool):
        values = [not value]
    else:
        values = material.values(tool.name, name) or []
        if len(values) < 2:
            values = [*values, *material.values("", name)]
        if isinstance(value, int | float) and len(values) < 3:
            values = [*values, value + 1, value + 2, value * 2 + 3]
    return [other for other in values if type(other) is type(value) and other != value]


def _plausible(tool: Tool, like: ToolCall, material: Material, rng: random.Random) -> ToolCall | None:
    """Return a call of this tool that fits its schema, or None.

    Its arguments are those of `like` by name, else what other rows gave.
    """
    arguments: dict[str, Any] = {}
    schemas = argument_schemas(tool.parameters)
    for name in required_arguments(tool.parameters):
        schema = schemas.get(name, {})
        known = material.values(tool.name, name) or material.values("", name)
        if name in like.arguments:
            arguments[name] = like.arguments[name]
        elif isinstance(schema.get("enum"), list | tuple) and schema["enum"]:
            arguments[name] = rng.choice(list(schema["enum"]))
        elif known:
            arguments[name] = rng.choice(known)
        elif (value := _any_value(schema.get("type"), like, rng)) is not None:
            arguments[name] = value
    call = ToolCall(tool.name, arguments)
    return None if call_problems(call, [tool]) else call


def _any_value(kind: object, like: ToolCall, rng: random.Random) -> Any:
    texts: Sequence[Any] = [value for value in like.arguments.values() if isinstance(value, str) and value.strip()]
    if kind in ("integer", "number"):
        return rng.randint(1, 9)
    if kind == "boolean":
        return rng.random() < 0.5
    return rng.choice(texts) if texts and kind in ("string", None) else None


def _invented_names(name: str) -> list[str]:
    """Return names in the same style: with another verb of the same meaning, or with another word at the end."""
    words = tokens(name)
    verb = words[0] if words else ""
    same = [other for other, kind in CANONICAL.items() if kind == CANONICAL.get(verb) and other != verb]
    position = name.lower().find(verb) if verb else -1
    names = []
    for other in sorted(same) if position >= 0 else []:
        written = other.capitalize() if name[position].isupper() else other
        names.append(name[:position] + written + name[position + len(verb) :])
    snake = name.rsplit("_", 1)[-1].islower()
    for ending in ("details", "status", "list", "info", "by_name", "history"):
        spoken = "".join(part.capitalize() for part in ending.split("_"))
        names.append(f"{name}_{ending}" if snake else f"{name}{spoken}")
    return names
