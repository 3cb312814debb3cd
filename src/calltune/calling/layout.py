"""Messages and tools in the layout that chat templates and OpenAI-compatible servers read."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from calltune.types import Message, Tool

TEMPLATE_KEYS: dict[str, Any] = {"enable_thinking": False}
"""What every rendering with thinking off tells the chat template. A training row carries these keys, and TRL hands them
to the template."""

THINKING_KEYS: dict[str, Any] = {"enable_thinking": True, "thinking": True}
"""The same with thinking on. DeepSeek's and Granite's templates have the shorter word, and think only where it is
said."""

ThoughtLayout = Literal["reasoning_content", "content"]
"""Where a template wants a thought: beside the content, or within it, in `<think>` tags."""


def message_dicts(
    messages: Sequence[Message],
    *,
    arguments_as_text: bool = False,
    thoughts: ThoughtLayout | None = "reasoning_content",
) -> list[dict[str, Any]]:
    """Return messages in the layout that chat templates read, which is OpenAI's.

    A message has `tool_calls` only where there are some. Calls are numbered through the conversation, in nine digits as
    Mistral's template demands, and a tool's message has the number of the call that it answers. A call's arguments are
    an object, or JSON text, as OpenAI's own interface has them. A thought stands where `thoughts` says, and is left out
    with None.
    """
    result, number, unanswered = [], 0, list[str]()
    for message in messages:
        entry: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.thought and thoughts == "content":
            entry["content"] = f"<think>\n{message.thought}\n</think>\n\n{message.content}"
        elif message.thought and thoughts:
            entry["reasoning_content"] = message.thought
        if message.tool_calls:
            entry["tool_calls"] = []
            for call in message.tool_calls:
                number += 1
                unanswered.append(f"{number:09d}")
                arguments: Any = dict(call.arguments)
                if arguments_as_text:
                    arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
                function = {"name": call.name, "arguments": arguments}
                entry["tool_calls"].append({"id": unanswered[-1], "type": "function", "function": function})
        elif message.role == "tool":
            entry["tool_call_id"] = unanswered.pop(0) if unanswered else f"{number:09d}"
        else:
            unanswered = []
        result.append(entry)
    return result


def tool_dict(tool: Tool) -> dict[str, Any]:
    """Return a tool in the layout that chat templates read, which is OpenAI's."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
