"""Ask a model behind an OpenAI-compatible server for one label. No label is an error, never a zero.

As NVIDIA's `evaluation/llm_as_a_judge/run_openai_judge.py` (When2Call 5ada7c9): one user message, an answer in JSON
under the key `classification`, and one more chance when it cannot be read. Theirs stops at a second unreadable answer
and takes any string for a label; here both are a verdict without a label, which the caller must count.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import pydantic

from calltune.calling.strict_json import parse_value
from calltune.config.endpoint import EndpointConfig
from calltune.errors import DataError
from calltune.models.endpoint import Endpoint, message_text

_KEY = "classification"
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


class JudgeSettings(EndpointConfig):
    """Which model judges, and through which server."""

    model: Annotated[str, pydantic.Field(min_length=1)]
    """The judge, as its server names it."""

    temperature: Annotated[float, pydantic.Field(ge=0)] | None = None
    """Without it the server's own, as NVIDIA's; 0 makes a judge repeatable, and is refused by some models."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The label, or None, and then `reason` says why; `answer` is what the judge wrote last."""

    label: str | None
    reason: str
    answer: str
    num_requests: int


async def ask_label(endpoint: Endpoint, settings: JudgeSettings, prompt: str, labels: Sequence[str]) -> Verdict:
    """Let the judge choose one of the labels.

    Args:
        prompt: what is to be judged, and what each label means; the form of the answer is added here.

    Raises:
        ModelError: the server refuses every request.
    """
    form = f'{{"{_KEY}": "<one of: {", ".join(labels)}>"}}'
    messages = [
        {"role": "user", "content": f"{prompt}\n\nAnswer with this JSON object and nothing else, filled in:\n{form}"}
    ]
    options = {} if settings.temperature is None else {"temperature": settings.temperature}
    num_requests, answer, problem = 0, "", ""
    for _ in range(2):
        reply = await endpoint.ask({"model": settings.model, "messages": messages, **options})
        num_requests += reply.num_requests
        if reply.message is None:
            return Verdict(None, reply.reason, answer, num_requests)
        answer = message_text(reply.message)
        label, problem = read_label(answer, labels)
        if label is not None:
            return Verdict(label, "", answer, num_requests)
        again = f"That could not be read: {problem}. Answer again, briefly, with the JSON object alone:\n{form}"
        # An empty turn is refused by many servers.
        said = [{"role": "assistant", "content": answer}] if answer.strip() else []
        messages = [*messages, *said, {"role": "user", "content": again}]
    return Verdict(None, f"unreadable twice: {problem}", answer, num_requests)


def read_label(answer: str, labels: Sequence[str]) -> tuple[str | None, str]:
    """The label in a judge's answer, or None and what is wrong with it.

    A thought in `<think>` tags before the JSON and a code fence around it are passed over; case does not matter.
    """
    text = _THOUGHT.sub("", answer).strip()
    if fenced := _FENCE.match(text):
        text = fenced[1]
    try:
        value = parse_value(text, "it")
    except DataError:
        return None, "it is not JSON"
    if not isinstance(value, dict) or not isinstance(value.get(_KEY), str):
        return None, f"it has no '{_KEY}'"
    name = value[_KEY].strip()
    label = next((label for label in labels if label.lower() == name.lower()), None)
    return label, "" if label else f"'{name[:40]}' is none of the labels"
