"""Messages as Vercel's SDK keeps them for a screen: one of the assistant holds all steps of an answer, with results.

A part is `tool-NAME` or `dynamic-tool`, with its call, its state and its result (SDK 5 and later), or `tool-invocation`
(SDK 4, which also lists `toolInvocations` beside the text). `step-start` stands before what one question to the model
gave.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from calltune.calling.edits import Change, tell
from calltune.calling.strict_json import shortened
from calltune.errors import DataError

_RESULTS = ("output-available", "result")
_PARTIAL = ("input-streaming", "partial-call", "streaming")
_SHOWN = ("source-url", "source-document", "source")


def plain_messages(raw: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Return the assistant's messages and the tools' that one message for a screen is; nothing for any other message.

    Raises:
        DataError: a part of it had not arrived as a whole, or a call has no result.
    """
    parts = raw.get("parts")
    old = raw.get("toolInvocations")
    if isinstance(parts, list) and any(map(_is_of_screen, parts)):
        listed = parts
    elif isinstance(old, list) and old and not isinstance(parts, list):
        text = raw.get("content")
        calls = [{"type": "tool-invocation", "toolInvocation": call} for call in old]
        # The text was said behind the results, by another step.
        listed = [*calls, {"type": "step-start"}, *([{"type": "text", "text": text}] if text else [])]
    else:
        return []
    if raw.get("role") != "assistant":
        raise DataError(f"{where}: a call or a step stands in a message of {shortened(raw.get('role'))}")
    marks = {key: value for key, value in raw.items() if key not in ("parts", "content", "toolInvocations")}
    steps = [messages for step in _steps(listed) if (messages := list(_messages(step, marks, where)))]
    for messages in steps[:-1]:
        # The step behind a call answers its result.
        calls = [part for part in messages[0]["content"] if isinstance(part, dict) and part.get("type") == "tool-call"]
        if len(calls) != sum(len(message["content"]) for message in messages[1:]):
            raise DataError(f"{where}: a step goes on though a call before it has no result")
    return [message for messages in steps for message in messages]


def _is_of_screen(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        return False
    is_tool = kind.startswith("tool-") and kind not in ("tool-call", "tool-result", "tool-error")
    return kind in ("dynamic-tool", "step-start") or (is_tool and ("toolCallId" in part or "toolInvocation" in part))


def _steps(parts: list[Any]) -> Iterator[list[Any]]:
    step = list[Any]()
    for part in parts:
        if isinstance(part, dict) and part.get("type") == "step-start":
            yield step
            step = []
        else:
            step.append(part)
    yield step


def _messages(step: list[Any], marks: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    said, results = list[Any](), list[dict[str, Any]]()
    for part in step:
        if isinstance(part, dict) and part.get("state") in _PARTIAL:
            raise DataError(f"{where}: a part had not arrived as a whole: its state is {shortened(part['state'])}")
        if isinstance(part, dict) and (part.get("type") in _SHOWN or str(part.get("type")).startswith("data-")):
            tell(where, "message", (Change("text_dropped", "remove", "/parts", part),))
        elif _is_of_screen(part):
            call, result = _called(part, where)
            said.append(call)
            results += result
        else:
            said.append(part)
    if said:
        yield {**marks, "content": said}
    if results:
        yield {"role": "tool", "content": results}


def _called(part: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the call of a part and its result, which is not there if the call was not answered."""
    inner = part.get("toolInvocation")
    call = inner if isinstance(inner, dict) else part
    state = call.get("state")
    if state in _PARTIAL:
        raise DataError(f"{where}: a call had not arrived as a whole: its state is {shortened(state)}")
    name = call.get("toolName") or str(part.get("type")).removeprefix("tool-")
    named = {"toolCallId": call.get("toolCallId"), "toolName": name}
    asked = {"type": "tool-call", **named, "input": call.get("input", call.get("args", {}))}
    if state in _RESULTS:
        return asked, [{"type": "tool-result", **named, "output": call.get("output", call.get("result"))}]
    if state == "output-error":
        return asked, [{"type": "tool-result", **named, "output": call.get("errorText")}]
    return asked, []
