"""Asks a model to take a value out of a question, and trusts none of its answers unread."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from calltune.calling.arguments import argument_schemas
from calltune.calling.strict_json import parse_value
from calltune.config.data import RewriteConfig
from calltune.data.derive.material import Deciding, Material
from calltune.data.derive.missing import missable, problem, why_not_missable
from calltune.data.derive.phrases import thing
from calltune.errors import DataError
from calltune.models.endpoint import Endpoint, message_text
from calltune.types import Message

_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)

_REQUEST = """Below are a user's messages to an assistant. Rewrite them so that they no longer tell {what}, which is \
{value} here, neither literally nor in other words nor by a hint, as if the user had forgotten to mention it. Change \
nothing else: every other fact and the user's way of writing stay.

{messages}

Answer with this JSON object and nothing else, one string for each message, in order:
{{"messages": ["..."]}}"""


def rewritten(
    cases: Sequence[Deciding], endpoint: Endpoint, settings: RewriteConfig, material: Material
) -> list[tuple[str, tuple[Message, ...]] | str]:
    """Return for each case the argument that was taken out and the prompt without it, or why there is none.

    Raises:
        ModelError: the server refuses every request.
    """
    results: dict[int, tuple[str, tuple[Message, ...]] | str] = {}

    async def ask(number: int) -> tuple[str, tuple[Message, ...]] | str:
        case = cases[number]
        parameter = next(name for name in missable(case) if why_not_missable(case, name) is None)
        reply = await endpoint.ask(
            {"model": settings.model, "messages": [{"role": "user", "content": _request(case, parameter)}]}
        )
        if reply.message is None:
            return "the model gave no answer"
        prompt = _prompt(case, message_text(reply.message))
        if prompt is None:
            return "the model's answer cannot be read"
        wrong = problem(case, parameter, prompt, material)
        return f"of the model's rewriting: {wrong}" if wrong else (parameter, prompt)

    def keep(number: int, result: tuple[str, tuple[Message, ...]] | str) -> None:
        results[number] = result

    endpoint.each(range(len(cases)), ask, keep)
    return [results[number] for number in range(len(cases))]


def can_be_asked(case: Deciding) -> bool:
    """Return whether there is an argument that a model could take out."""
    return any(why_not_missable(case, name) is None for name in missable(case))


def _said(case: Deciding) -> list[str]:
    return [message.content for message in case.prompt if message.role == "user"]


def _request(case: Deciding, parameter: str) -> str:
    return _REQUEST.format(
        what=thing(parameter, argument_schemas(case.target.parameters)[parameter]) or f"the {parameter}",
        value=json.dumps(case.call.arguments[parameter], ensure_ascii=False, allow_nan=False),
        messages=json.dumps({"messages": _said(case)}, ensure_ascii=False, indent=1, allow_nan=False),
    )


def _prompt(case: Deciding, answer: str) -> tuple[Message, ...] | None:
    """Return the prompt with the user's messages as the model wrote them.

    Return None when they cannot be read, nothing changed, or something was added.
    """
    text = _THOUGHT.sub("", answer).strip()
    if fenced := _FENCE.match(text):
        text = fenced[1]
    try:
        value = parse_value(text, "the answer")
    except DataError:
        return None
    texts = value.get("messages") if isinstance(value, dict) else None
    said = _said(case)
    if not isinstance(texts, list) or len(texts) != len(said) or not all(isinstance(t, str) for t in texts):
        return None
    # A rewriting that is much longer has added something.
    if texts == said or any(
        len(new) > 1.2 * len(old) + 20 or not new.strip() for new, old in zip(texts, said, strict=True)
    ):
        return None
    remaining = iter(texts)
    return tuple(replace(m, content=next(remaining).strip()) if m.role == "user" else m for m in case.prompt)
