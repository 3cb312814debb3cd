"""Questions that lose one required value: which argument can be missed, and whether it really is missing then."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from calltune.calling.arguments import argument_schemas, required_arguments
from calltune.data.derive.material import Deciding, Material
from calltune.data.derive.removal import without
from calltune.data.derive.values import forms, is_told, same_value, spans, telling_words
from calltune.data.derive.vocabulary import content_words
from calltune.types import Message

NOT_LITERAL = "the value does not stand in the question literally"
NOT_READABLE = "no sentence would be left"


def missable(case: Deciding) -> list[str]:
    """Return the required arguments of the call that a user has to give, in the order of the schema."""
    required = required_arguments(case.target.parameters)
    return [
        name
        for name, schema in argument_schemas(case.target.parameters).items()
        if name in required
        and name in case.call.arguments
        and "default" not in schema
        and len(schema.get("enum", (1, 2))) > 1
    ]


def why_not_missable(case: Deciding, parameter: str) -> str | None:
    """Return why taking this value out of the user's words would not make it missing; None when it would."""
    value = case.call.arguments[parameter]
    if not forms(value):
        return "the value is a list, an object, true or false"
    if _told_by_others(case.prompt, value):
        return "a tool's result, the system text or an earlier answer tells the value"
    for name, other in case.call.arguments.items():
        shared = telling_words(value) & telling_words(other)
        if name != parameter and (same_value(value, other) or shared):
            return "another argument shares the value"
    return None


def cleaned(case: Deciding, parameter: str) -> tuple[Message, ...] | str:
    """Return the prompt whose user says everything but this value, or why there is none."""
    value = case.call.arguments[parameter]
    if not any(spans(message.content, value) for message in case.prompt if message.role == "user"):
        return NOT_LITERAL
    messages = []
    for message in case.prompt:
        if message.role == "user" and spans(message.content, value):
            text = without(message.content, value, case.vocabulary)
            if text is None:
                return NOT_READABLE
            message = replace(message, content=text)
        messages.append(message)
    return tuple(messages)


def problem(case: Deciding, parameter: str, messages: Sequence[Message], material: Material) -> str | None:
    """Return what is wrong with a cleaned prompt; None when the value, and nothing else, is missing."""
    value = case.call.arguments[parameter]
    text = _user_text(messages)
    if is_told(text, value):
        return "the value, or a part of it, is still told"
    if material.other_value_in(text, case, parameter):
        return "another possible value is told"
    original = _user_text(case.prompt)
    for name, other in case.call.arguments.items():
        if name != parameter and spans(original, other) and not spans(text, other):
            return "another argument's value went with it"
    last = messages[-1].content
    if len(last.split()) < 3 or not content_words(last):
        return "the question says nothing without it"
    return None


def _user_text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages if message.role == "user")


def _told_by_others(messages: Sequence[Message], value: Any) -> bool:
    for message in messages:
        if message.role != "user" and is_told(message.content, value):
            return True
        for call in message.tool_calls:
            if any(same_value(value, stated) or is_told(str(stated), value) for stated in call.arguments.values()):
                return True
    return False
