"""Ask a new endpoint some of the run's own questions: what comes back must be OpenAI's shape, and calls must be calls.

Whether an answer is right is told, and decides nothing: that was measured. What decides is whether the container reads
what the model writes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from calltune.calling.call_text import read_call_text
from calltune.calling.strict_json import shortened
from calltune.errors import JobError
from calltune.launch.sagemaker.aws import Aws, plainly
from calltune.launch.sagemaker.deployment import Deployment
from calltune.models.backends.openai import names_in, read_reply, request_body, sent_names
from calltune.models.endpoint import Reply
from calltune.runtime.terminal import show_table
from calltune.types import Completion, Sample, ToolCall

_MOST_TOKENS = 512


def smoke_test(aws: Aws, plan: Deployment, questions: Sequence[tuple[Sample, str]]) -> None:
    """Ask, and show what was expected beside what came.

    Args:
        questions: each with what is expected, in words.

    Raises:
        JobError: the endpoint does not answer, or an answer is not readable: no chat completion, a call that is left
            in the text though there is a parser, a call that is no JSON.
    """
    rows, faults = [], list[str]()
    for sample, expected in questions:
        completion = _answer(aws, plan, sample)
        fault, answered = _read(completion, sample, plan.has_call_parser)
        rows.append((shortened(sample.messages[-1].content), expected, fault or answered))
        if fault:
            faults.append(f"'{sample.id}': {fault}")
    show_table(f"smoke test of {plan.name}", ("question", "expected", "the endpoint"), rows)
    if faults:
        raise JobError(f"deploy: smoke test: {len(faults)} of {len(rows)} answers cannot be read; {faults[0]}")


def call_in_words(call: ToolCall) -> str:
    """Write a call for a reader."""
    return f"{call.name}({json.dumps(dict(call.arguments), ensure_ascii=False, allow_nan=False)})"


def _answer(aws: Aws, plan: Deployment, sample: Sample) -> Completion:
    names = sent_names(names_in(sample))
    body = {"model": plan.model, **request_body(sample, names), "temperature": 0, "max_tokens": _MOST_TOKENS}
    with plainly(f"endpoint '{plan.name}' does not answer"):
        response = aws.sagemaker_runtime.invoke_endpoint(
            EndpointName=plan.name,
            ContentType="application/json",
            Accept="application/json",
            Body=json.dumps(body, ensure_ascii=False, allow_nan=False).encode(),
        )
        content = response["Body"].read()
    return read_reply(sample.id, _reply(content), {sent: name for name, sent in names.items()})


def _reply(content: bytes) -> Reply:
    """Return the message of a chat completion, or why there is none."""
    try:
        choice: Any = json.loads(content)["choices"][0]
        message = choice["message"]
    except (ValueError, LookupError, TypeError):
        return Reply(None, "", f"is no chat completion: {shortened(content.decode(errors='replace'))}", 1)
    if not isinstance(message, Mapping):
        return Reply(None, "", "holds no message", 1)
    return Reply(message, str(choice.get("finish_reason") or ""), "", 1)


def _read(completion: Completion, sample: Sample, has_parser: bool) -> tuple[str, str]:
    """Return what is wrong with an answer, empty when nothing is, and the answer in words."""
    message = completion.message
    if completion.status == "truncated":
        return "", f"cut off after {_MOST_TOKENS} tokens"
    if completion.status == "error" or (message is None and has_parser):
        return completion.reason, ""
    if message is None or not message.tool_calls:
        left = read_call_text(message.content if message else completion.text, sample.tools)
        if left is not None and has_parser:
            return "a call was left in the text: the container's parser does not read it", ""
        if left is not None and left.message is not None:
            message = left.message
    if message is None:
        return completion.reason, ""
    return "", "; ".join(map(call_in_words, message.tool_calls)) or shortened(message.content)
