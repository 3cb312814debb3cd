"""The events of OpenTelemetry's GenAI conventions before 1.37: one for each message, on a span or as log records."""

from collections.abc import Mapping
from typing import Any

from calltune.calling.strict_json import parse_value
from calltune.errors import DataError

CHOICE, _TOOL = "gen_ai.choice", "gen_ai.tool.message"
_ROLES = {"gen_ai.system.message": "system", "gen_ai.user.message": "user", "gen_ai.assistant.message": "assistant"}
_BLOCKS = frozenset(("text", "toolUse", "toolResult", "image", "document", "reasoningContent", "cachePoint", "type"))


def events_record(events: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """Return the request and the answer of a span's events; None where they hold no texts.

    Raises:
        DataError: there are several answers, or one cannot be read.
    """
    messages, choices = list[Any](), list[dict[str, Any]]()
    for name, event in events:
        said = event if isinstance(event, dict) else {}
        if isinstance(text := said.get("gen_ai.event.content"), str):
            value = parse_value(text, "gen_ai.event.content")
            said = value if isinstance(value, dict) else {"content": value}
        if name in _ROLES:
            message = named({**said, "content": content_of(said.get("content"))}, _ROLES[name])
            # botocore's instrumentation has results twice, as its own messages and as the user's.
            if message["role"] != "user" or not _results(message) or _results(message) - _ids(messages):
                messages.append(message)
        elif name == _TOOL:
            messages.append(result_of(said))
        elif name == CHOICE:
            choices.append(said)
    if not any(message["content"] or message.get("tool_calls") for message in messages):
        return None
    if len(choices) > 1:
        raise DataError(f"'{CHOICE}' must be one, not {len(choices)}")
    return {"messages": messages, "response": choice_of(choices[0]) if choices else None}


def _results(message: Mapping[str, Any]) -> set[str]:
    """Return the calls whose results a message holds; nothing where it holds another thing too."""
    content = message["content"]
    parts = content if isinstance(content, list) else []
    results = [
        part["toolResult"] for part in parts if isinstance(part, dict) and isinstance(part.get("toolResult"), dict)
    ]
    return {str(result.get("toolUseId")) for result in results} if len(results) == len(parts) else set()


def _ids(messages: list[Any]) -> set[str]:
    return {str(message["tool_call_id"]) for message in messages if message.get("tool_call_id")}


def result_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message of a tool that an event says."""
    return {"role": "tool", "content": content_of(said.get("content")), "tool_call_id": said.get("id")}


def choice_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer that an event says: its message, as an object, a text or the text of blocks, and its end."""
    message = said.get("message")
    message = message if isinstance(message, dict) else {"content": content_of(message)}
    finish = {"finish_reason": said["finish_reason"]} if said.get("finish_reason") else {}
    return named({"content": None, **message, **finish}, "assistant")


def content_of(text: Any) -> Any:
    """Return a content that is JSON text of Bedrock's blocks as these; another text stays."""
    if not isinstance(text, str) or not text.startswith("[{"):
        return text
    try:
        value = parse_value(text, "content")
    except DataError:
        return text
    is_blocks = isinstance(value, list) and all(isinstance(each, dict) and _BLOCKS & each.keys() for each in value)
    return value if is_blocks else text


def named(message: Any, role: str) -> Any:
    """Return a message with its role, where it says none."""
    if not isinstance(message, dict):
        return message
    calls = message.get("tool_calls")
    filled = {"tool_calls": [_filled(call) for call in calls]} if isinstance(calls, list) else {}
    return {"role": role, **message, **filled}


def _filled(call: Any) -> Any:
    """Return a call with the empty arguments that some instrumentations leave out."""
    function = call.get("function") if isinstance(call, dict) else None
    return {**call, "function": {"arguments": {}, **function}} if isinstance(function, dict) else call
