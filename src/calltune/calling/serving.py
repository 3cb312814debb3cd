"""How to serve a model with vLLM: which of its tool-call parsers reads what the model's template writes.

Which parser that is stands in `families`. Flags are vLLM's as of 0.33.0 (`vllm serve --help`).
"""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from calltune.calling.chat import Chat
from calltune.calling.families import MISREAD_BY_VLLM, family_of
from calltune.calling.layout import TEMPLATE_KEYS, THINKING_KEYS
from calltune.calling.rendering import render


@dataclass(frozen=True, slots=True)
class Serving:
    """A shell command that serves a model; `note` says what it cannot do, or is empty."""

    command: str
    note: str


def serving(chat: Chat, folder: str, thinking: str = "off") -> Serving:
    """Return the `vllm serve` line for a model's folder.

    It names the parser, and sets the prompts and the decoding that the model was measured with.

    Args:
        thinking: the mode or modes in which the model was trained and measured, as `[chat] thinking` says.
    """
    words, note, family = ["vllm", "serve", folder], "", family_of(chat)
    if parser := family.calls.vllm:
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
    if thinking != "off" and family.thoughts.vllm:
        words += ["--reasoning-parser", family.thoughts.vllm]
    keys = THINKING_KEYS if thinking == "on" else TEMPLATE_KEYS
    if thinking == "both":
        modes = "a request says by chat_template_kwargs = {'enable_thinking': true} or false whether to think"
        note = "; ".join(filter(None, (note, modes)))
    elif _differs_unless_told(chat, keys):
        words += ["--default-chat-template-kwargs", json.dumps(keys, allow_nan=False)]
    # vLLM samples at temperature 1 when generation_config.json names none, whatever that file says of do_sample.
    words += ["--override-generation-config", '{"temperature": 0}']
    return Serving(shlex.join(words), note)


def _differs_unless_told(chat: Chat, keys: dict[str, Any]) -> bool:
    """Return whether the template's own default differs from the mode that the model was trained and measured in."""
    question: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
    told_of: tuple[dict[str, Any], ...] = ({}, keys)
    plain, told = (
        render(chat.tokenizer, chat.name, question, None, add_generation_prompt=True, **keys) for keys in told_of
    )
    return plain != told
