"""Log records of AWS's distribution of OpenTelemetry (Amazon Bedrock AgentCore), from which messages are missing.

The distribution takes the texts out of an agent's spans and writes them as one record for each: `input` and `output`,
each with its messages. Of several messages of one kind it keeps the last alone, and all of the assistant's stand in
`output`. So what stood before an answer cannot be read from one record. It is put together from the records of a
session, or of a trace, in order: each span adds what was new before its answer, and the answer. What cannot be followed
so is rejected.
"""

from collections.abc import Sequence
from typing import Any

from calltune.data.sources.span_events import choice_of, content_of, named, result_of
from calltune.data.sources.spans import Span
from calltune.errors import DataError

_LOST = "AWS's log record keeps the last message of each kind, and those before it are not among the rows"


def is_body(said: Any) -> bool:
    """Return whether what an event says is such a record."""
    return isinstance(said, dict) and isinstance(said.get("output"), dict) and isinstance(said.get("input"), dict)


def follow(spans: Sequence[Span]) -> None:
    """Give each span of a model its request and answer, or say in its `problem` why they cannot be told.

    Args:
        spans: those of models. Spans without such a record stay as they are.
    """
    history = dict[str, list[dict[str, Any]]]()
    for span in sorted(spans, key=lambda span: span.start):
        bodies = [said for _, said in span.events if is_body(said)]
        if not bodies or span.record is not None:
            continue
        session = span.attributes.get("session.id")
        key = session if isinstance(session, str) else span.trace
        try:
            messages, answer = _conversation(bodies[-1], history.pop(key, []))
        except DataError as error:
            span.problem = span.problem or str(error)
            continue
        span.record = {"messages": messages, "response": answer}
        history[key] = [*messages, _unfinished(answer)]


def _conversation(body: dict[str, Any], before: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return what stood before an answer, and the answer."""
    asked, answered = _plain(body["input"].get("messages")), _plain(body["output"].get("messages"))
    if not answered:
        raise DataError("it holds no answer")
    if len(answered) == 1 and not any(message["role"] == "tool" for message in asked):
        return asked, answered[-1]
    if not before:
        raise DataError(_LOST)
    role = "tool" if _calls(before[-1]) else "user"
    new = next((message for message in reversed(asked) if message["role"] == role), None)
    # What is left of the earlier messages must be among those of the records before.
    left = [each for each in (*asked, *answered[:-1]) if each is not new and each["role"] != "system"]
    if new is None or any(each not in before for each in left):
        raise DataError(_LOST)
    return [*before, new], answered[-1]


def _unfinished(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "finish_reason"}


def _calls(message: dict[str, Any]) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return bool(message.get("tool_calls")) or any(isinstance(part, dict) and "toolUse" in part for part in parts)


def _plain(raw: Any) -> list[dict[str, Any]]:
    if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
        raise DataError("its body must hold lists of messages")
    messages = list[dict[str, Any]]()
    for each in raw:
        said, role = each.get("content"), str(each.get("role"))
        said = said if isinstance(said, dict) else {"content": said}
        if "message" in said:
            messages.append(choice_of(said))
        elif role == "tool":
            messages.append(result_of(said))
        else:
            messages.append(named({**said, "content": content_of(said.get("content"))}, role))
    return messages
