"""Answers and tools as text, as When2Call's test layout has them in a question."""

import json
from dataclasses import asdict

from calltune.types import Message, Tool


def answer_text(message: Message) -> str:
    """Return an answer's text, or its first call as JSON."""
    if not message.tool_calls:
        return message.content
    call = message.tool_calls[0]
    return json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False, allow_nan=False)


def tool_text(tool: Tool) -> str:
    """Return a tool as JSON."""
    return json.dumps(asdict(tool), ensure_ascii=False, allow_nan=False)
