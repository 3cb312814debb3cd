"""What comes to `/v1/chat/completions`, checked: what cannot be honoured is refused, and nothing is passed over."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calltune.calling.schema import normalize_tools
from calltune.errors import DataError
from calltune.types import Message, Role, Tool, ToolCall

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_WITHOUT_EFFECT = {"top_p", "seed", "user", "metadata", "store", "parallel_tool_calls"}
"""Greedy answers do not depend on the first two, nor any answer here on the others."""

_READ = {"model", "messages", "tools", "tool_choice", "stream", "stream_options", "max_tokens", "max_completion_tokens"}
_AS_IT_IS: Mapping[str, tuple[Any, ...]] = {
    "temperature": (None, 0),
    "n": (None, 1),
    "logprobs": (None, False),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
}
"""Keys of which only these values can be honoured."""


class RequestError(Exception):
    """A request that is refused: the message for the client, the key that is wrong, and the HTTP status."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.status = param, status


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request; `max_tokens` is None where it does not say how long an answer may become."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    max_tokens: int | None
    stream: bool
    wants_usage: bool


def read_request(body: bytes) -> ChatRequest:
    """The request in a body.

    Raises:
        RequestError: it is not JSON, or a key of it is wrong or cannot be honoured.
    """
    try:
        table = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("the body is not JSON") from None
    if not isinstance(table, dict):
        raise RequestError("the body must be a JSON object")
    for key, value in table.items():
        if key in _AS_IT_IS:
            if value not in _AS_IT_IS[key]:
                usual = json.dumps(_AS_IT_IS[key][1], allow_nan=False)
                raise RequestError(f"answers are greedy texts: leave '{key}' out, or set it to {usual}", key)
        elif key not in _READ | _WITHOUT_EFFECT:
            raise RequestError(f"'{key}' is not known here", key)
    choice = table.get("tool_choice")
    if choice not in (None, "auto", "none"):
        raise RequestError(
            'a model decides itself whether to call: \'tool_choice\' must be "auto" or "none"', "tool_choice"
        )
    options = _of(table, "stream_options", dict, {})
    return ChatRequest(
        _of(table, "model", str),
        _messages(_of(table, "messages", list)),
        () if choice == "none" else _tools(table.get("tools")),
        _max_tokens(table),
        _of(table, "stream", bool, False),
        options.get("include_usage") is True,
    )


def _of(table: Mapping[str, Any], key: str, kind: type, default: Any = None, where: str = "") -> Any:
    """A key's value, which must be of a kind; its default where it is missing or null, and there is one."""
    value = table.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind):
        raise RequestError(f"{where}'{key}' must be of the type {kind.__name__}", key)
    return value


def _max_tokens(table: Mapping[str, Any]) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        value = table.get(key)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise RequestError(f"'{key}' must be a whole number of 1 or more", key)
            return value
    return None


def _tools(raw: Any) -> tuple[Tool, ...]:
    try:
        return normalize_tools(raw, "tools")
    except DataError as error:
        raise RequestError(str(error), "tools") from None


def _messages(raw: Sequence[Any]) -> tuple[Message, ...]:
    messages = tuple(_message(each, f"messages[{number}]: ") for number, each in enumerate(raw))
    if not messages or messages[-1].role not in ("user", "tool"):
        raise RequestError("'messages' must end with the user's message or a tool's", "messages")
    return messages


def _message(raw: Any, where: str) -> Message:
    if not isinstance(raw, dict):
        raise RequestError(f"{where}it must be an object", "messages")
    role = raw.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise RequestError(f"{where}'role' must be one of {', '.join(_ROLES)}", "messages")
    calls = _of(raw, "tool_calls", list, [], where)
    if calls and role != "assistant":
        raise RequestError(f"{where}only the assistant has 'tool_calls'", "messages")
    thought = _of(raw, "reasoning_content", str, "", where)
    return Message(_ROLES[role], _content(raw.get("content"), where), tuple(_call(c, where) for c in calls), thought)


def _content(content: Any, where: str) -> str:
    """A text, or a list of parts that are texts."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [None]
    texts = [p.get("text") if isinstance(p, dict) and p.get("type") == "text" else None for p in parts]
    if any(not isinstance(text, str) for text in texts):
        raise RequestError(f"{where}'content' must be a text, or a list of parts of the type text", "messages")
    return "".join(map(str, texts))


def _call(raw: Any, where: str) -> ToolCall:
    function = raw.get("function") if isinstance(raw, dict) else None
    if not isinstance(function, dict):
        raise RequestError(f"{where}a call must be an object with a 'function'", "messages")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
    if not isinstance(arguments, dict):
        raise RequestError(f"{where}a call's 'arguments' must be a JSON object, or its text", "messages")
    return ToolCall(_of(function, "name", str, None, where), arguments)
