"""What goes out of `/v1/chat/completions`, in OpenAI's layout, whole or in pieces.

Beside OpenAI's keys stands `calltune`: an answer's status with the reason, and in pieces the text as the model writes
it, in which calls are not read yet.
"""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from calltune.types import Completion, ToolCall

_CALLS_BEGIN_WITH = "<[{`"
"""What a call may begin with, in any format that is read here, and a thought as well."""


class Reply:
    """The reply to one request."""

    def __init__(self, model: str, *, holds_all: bool = False) -> None:
        """Begin with nothing said.

        Args:
            holds_all: whether no piece of the content is sent before the end, since it may be a thought.
        """
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._text, self._num_sent, self._holds_all, self._is_first = "", 0, holds_all, True

    def whole(self, completion: Completion, usage: dict[str, int] | None) -> dict[str, Any]:
        """The reply in one."""
        content, calls, thought = _said(completion)
        message: dict[str, Any] = {"role": "assistant", "content": content or None}
        if thought:
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
        choice = {"index": 0, "message": message, "finish_reason": _finish(completion), "logprobs": None}
        reply = {**self._head, "object": "chat.completion", "choices": [choice], "calltune": _state(completion)}
        return reply | ({"usage": usage} if usage else {})

    def piece(self, text: str) -> dict[str, Any]:
        """A piece of the reply. Its content lags behind the text wherever a call may have begun."""
        self._text += text
        return self._chunk(self._sure(), calltune={"text": text})

    def rest(self, completion: Completion, usage: dict[str, int] | None) -> Iterator[dict[str, Any]]:
        """What is still to be said when the answer is whole: content, calls, why it ended and, if asked for, usage."""
        content, calls, thought = _said(completion)
        delta: dict[str, Any] = {"content": content[self._num_sent :]}
        if thought:
            delta["reasoning_content"] = thought
        if calls:
            delta["tool_calls"] = [{"index": number, **_call(call)} for number, call in enumerate(calls)]
        yield self._chunk(delta)
        yield self._chunk({}, finish_reason=_finish(completion), calltune=_state(completion))
        if usage:
            yield {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage}

    def _sure(self) -> dict[str, Any]:
        """The content that is sure to be content and was not sent yet; white space waits for what comes after it."""
        text = self._text.strip()
        begins = min((place for mark in _CALLS_BEGIN_WITH if (place := text.find(mark)) >= 0), default=len(text))
        sure = "" if self._holds_all else text[:begins].rstrip()
        new, self._num_sent = sure[self._num_sent :], max(self._num_sent, len(sure))
        return {"content": new} if new else {}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **others: Any) -> dict[str, Any]:
        if self._is_first:
            delta, self._is_first = {"role": "assistant", **delta}, False
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice], **others}


def _said(completion: Completion) -> tuple[str, tuple[ToolCall, ...], str]:
    """Content, calls and thought. An answer in which no call can be read is its text, as servers have it."""
    message = completion.message
    if message is None:
        return completion.text.strip(), (), ""
    return message.content.strip(), message.tool_calls, message.thought


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False, allow_nan=False)
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def _finish(completion: Completion) -> str:
    if completion.status == "truncated":
        return "length"
    return "tool_calls" if completion.message and completion.message.tool_calls else "stop"


def _state(completion: Completion) -> dict[str, str]:
    return {"status": completion.status, "reason": completion.reason}
