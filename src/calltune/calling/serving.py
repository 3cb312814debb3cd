"""How to serve a model with vLLM: which of its tool-call parsers reads what the model's template writes.

The parser follows from a call that the template wrote, never from the model's name. Parsers and flags are vLLM's as of
v0.20 (`vllm/tool_parsers`, `vllm serve --help`).
"""

import shlex
from dataclasses import dataclass
from typing import Any

from calltune.calling.calls import CallFormat
from calltune.calling.chat import Chat
from calltune.calling.rendering import render
from calltune.types import Message, Tool, ToolCall

_QUESTION = Message("user", "q")
_TOOL = Tool("f", "F.", {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
_CALL = Message("assistant", "", (ToolCall("f", {"a": "b"}),))

_BY_FORMAT: dict[CallFormat, str] = {
    "hermes": "hermes",
    "json": "llama3_json",
    "pythonic": "pythonic",
    "list": "xlam",
    "lfm2": "lfm2",
}

# The marks around a call are looked at before the call itself, because each of them has a parser of its own.
_BY_MARK = (
    ("[TOOL_CALLS]", "mistral"),
    ("<|python_start|>", "llama4_pythonic"),
    ("<arg_key>", "glm45"),
    ("<function=", "qwen3_coder"),
    ("<|tool_call|>", "granite"),
)


@dataclass(frozen=True, slots=True)
class Serving:
    """A shell command that serves a model; `note` says what it cannot do, or is empty."""

    command: str
    note: str


def tool_call_parser(chat: Chat) -> str | None:
    """Return vLLM's name for the parser that reads this model's calls, or None when there is none."""
    written = chat.answer([_QUESTION], [_TOOL], _CALL)
    for mark, parser in _BY_MARK:
        if mark in written:
            # Functionary's `<function=name>{...}` has no parser; Qwen3-Coder's stands inside <tool_call>.
            return parser if mark != "<function=" or "<tool_call>" in written else None
    return _BY_FORMAT.get(chat.call_format) if chat.call_format else None


def serving(chat: Chat, folder: str) -> Serving:
    """Return the `vllm serve` line for a model's folder.

    It names the parser, and sets the prompts and the decoding that the model was measured with.
    """
    words, note = ["vllm", "serve", folder], ""
    if parser := tool_call_parser(chat):
        words += ["--enable-auto-tool-choice", "--tool-call-parser", parser]
    else:
        note = (
            f"vLLM has no parser for the way this template writes calls ({chat.call_format or 'unknown'} format): "
            "a call arrives as text in 'content', for the client to read"
        )
    if _thinks_unless_told(chat):
        words += ["--default-chat-template-kwargs", '{"enable_thinking": false}']
    # vLLM samples at temperature 1 when generation_config.json names none, whatever that file says of do_sample.
    words += ["--override-generation-config", '{"temperature": 0}']
    return Serving(shlex.join(words), note)


def _thinks_unless_told(chat: Chat) -> bool:
    """Return whether the template's own default differs from thinking off.

    The model was trained and measured with thinking off.
    """
    question: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
    told_of: tuple[dict[str, Any], ...] = ({}, {"enable_thinking": False})
    plain, told = (
        render(chat.tokenizer, chat.name, question, None, add_generation_prompt=True, **keys) for keys in told_of
    )
    return plain != told
