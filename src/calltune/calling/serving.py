"""How to serve a model with vLLM: which of its tool-call parsers reads what the model's template writes.

Which parser that is stands in `families`. Flags are vLLM's as of 0.33.0 (`vllm serve --help`).
"""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from calltune.calling.chat import Chat
from calltune.calling.families import MISREAD_BY_VLLM, family_of
from calltune.calling.layout import TEMPLATE_KEYS
from calltune.calling.rendering import render


@dataclass(frozen=True, slots=True)
class Serving:
    """A shell command that serves a model; `note` says what it cannot do, or is empty."""

    command: str
    note: str


def serving(chat: Chat, folder: str) -> Serving:
    """Return the `vllm serve` line for a model's folder.

    It names the parser, and sets the prompts and the decoding that the model was measured with.
    """
    words, note = ["vllm", "serve", folder], ""
    if parser := family_of(chat).calls.vllm:
        words += ["--enable-auto-tool-choice", "--tool-call-parser", parser]
        if chat.call_format in MISREAD_BY_VLLM:
            note = (
                f"vLLM's parser reads some calls otherwise than they are written: {MISREAD_BY_VLLM[chat.call_format]}"
            )
    else:
        note = (
            f"vLLM has no parser for the way this template writes calls ({chat.call_format or 'unknown'} format): "
            "a call arrives as text in 'content', for the client to read"
        )
    if _thinks_unless_told(chat):
        words += ["--default-chat-template-kwargs", json.dumps(TEMPLATE_KEYS, allow_nan=False)]
    # vLLM samples at temperature 1 when generation_config.json names none, whatever that file says of do_sample.
    words += ["--override-generation-config", '{"temperature": 0}']
    return Serving(shlex.join(words), note)


def _thinks_unless_told(chat: Chat) -> bool:
    """Return whether the template's own default differs from thinking off.

    The model was trained and measured with thinking off.
    """
    question: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
    told_of: tuple[dict[str, Any], ...] = ({}, TEMPLATE_KEYS)
    plain, told = (
        render(chat.tokenizer, chat.name, question, None, add_generation_prompt=True, **keys) for keys in told_of
    )
    return plain != told
