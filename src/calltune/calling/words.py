"""A message as a person reads it: calls as `name(argument="value")`."""

import json

from calltune.types import Message, ToolCall


def call_words(call: ToolCall) -> str:
    """Return a call as `name(argument=value, ...)`, each value as JSON has it."""
    values = {name: json.dumps(value, ensure_ascii=False, allow_nan=False) for name, value in call.arguments.items()}
    return f"{call.name}({', '.join(f'{name}={value}' for name, value in values.items())})"


def message_words(message: Message) -> str:
    """Return what a message says: its text, then each of its calls, a line each; a thought is left out."""
    return "\n".join(filter(None, (message.content.strip(), *map(call_words, message.tool_calls))))
