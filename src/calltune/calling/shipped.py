"""Chat templates that come with calltune, for models whose own template knows no tools (SmolLM2, Gemma 1 to 3, Phi-3).

`chat_template = "hermes"` writes tools and calls as Hermes does, between the marks of turns that the model was taught:
they are read off its own template. A conversation without tools is written as the model's own template writes it.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calltune.calling.rendering import render
from calltune.errors import ModelError

SHIPPED = ("hermes",)

_RULES, _QUESTION = "probe rules 1472", "probe question 5128"
_ANSWER, _NEXT = "probe answer 3350", "probe question 4083"
_CHATML = ("<|im_start|>", "<|im_end|>")


@dataclass(frozen=True, slots=True)
class Marks:
    """What stands around the turns of a conversation.

    Where a template has no place for a system text, `has_system` is False: the text stands before the first question,
    with `system_close` between them. `end` is the token that ends an answer.
    """

    begin: str
    has_system: bool
    default_system: str
    system_open: str
    system_close: str
    user_open: str
    user_close: str
    assistant_open: str
    assistant_close: str
    end: str


def shipped_template(tokenizer: Any, name: str, model: str) -> tuple[str, str]:
    """Return the template of a name for a model, and the token that ends the model's turns.

    Args:
        tokenizer: the model's, with its own chat template.
        name: one of `SHIPPED`.
        model: for messages.

    Raises:
        ModelError: the marks of turns cannot be read off the model's own template.
    """
    marks = _chatml(tokenizer) if not tokenizer.chat_template else _read_off(tokenizer, name, model)
    if marks is None:
        raise ModelError(
            f"model '{model}': its tokenizer has no chat template from which the marks of turns for "
            f"chat_template = \"{name}\" could be read; name a Jinja file as 'chat_template'"
        )
    source = _source(name)
    return source.replace("{#- MARKS -#}", f"{{%- set marks = {_literal(asdict(marks))} -%}}"), marks.end


def shipped_sha256(name: str) -> str:
    """Return the hash of a template as it comes with calltune; the marks are the model's."""
    return hashlib.sha256(_source(name).encode()).hexdigest()


def _source(name: str) -> str:
    return (Path(__file__).parent / f"{name}.jinja").read_text(encoding="utf-8")


def _literal(values: dict[str, Any]) -> str:
    """Return a dict as Jinja reads it."""
    pairs = (
        f"{json.dumps(key, allow_nan=False)}: {json.dumps(value, allow_nan=False)}" for key, value in values.items()
    )
    return "{" + ", ".join(pairs) + "}"


def _chatml(tokenizer: Any) -> Marks | None:
    """Return ChatML's marks for a model that has their tokens and no template, as base models have."""
    if not set(_CHATML) <= set(tokenizer.get_vocab()):
        return None
    opened, end = _CHATML
    close = f"{end}\n"
    begins = {f"{role}_open": f"{opened}{role}\n" for role in ("system", "user", "assistant")}
    ends = {f"{role}_close": close for role in ("system", "user", "assistant")}
    return Marks(begin="", has_system=True, default_system="", end=end, **begins, **ends)


def _read_off(tokenizer: Any, name: str, model: str) -> Marks:
    def written(*messages: tuple[str, str], prompt: bool = False) -> str:
        turns = [{"role": role, "content": content} for role, content in messages]
        return render(tokenizer, model, turns, None, add_generation_prompt=prompt)

    question, answer = ("user", _QUESTION), ("assistant", _ANSWER)
    whole = written(question, answer, ("user", _NEXT))
    pieces = re.split("|".join(map(re.escape, (_QUESTION, _ANSWER, _NEXT))), whole)
    asked = written(question, prompt=True)
    if len(pieces) != 4 or asked != pieces[0] + _QUESTION + pieces[1]:
        raise _unreadable(name, model, "it writes a question otherwise once it is answered")
    before, between, after, _ = pieces
    close, end = _close(tokenizer, after)
    user_open = after[len(close) :]
    if not end or not user_open.strip() or not before.endswith(user_open):
        raise _unreadable(name, model, "no token ends an answer, or a question does not always begin alike")
    user_close = close if between.startswith(close) else _close(tokenizer, between)[0]
    marks = {
        "user_open": user_open,
        "user_close": user_close,
        "assistant_open": between[len(user_close) :],
        "assistant_close": close,
        "end": end,
    }
    # Where the token for the beginning of a text also begins each turn, as SmolLM2's does, it is a part of the turn.
    bos = tokenizer.bos_token or ""
    begin = bos if bos and before.startswith(bos) and not user_open.startswith(bos) else ""
    default = before[len(begin) : -len(user_open)]
    try:
        ruled = written(("system", _RULES), question)
    except ModelError:
        ruled = f"{before}{_RULES}\n\n{_QUESTION}"
    opening, _, rest = ruled.partition(_RULES)
    closing = rest.partition(_QUESTION)[0]
    if opening.endswith(user_open) or not rest:
        return Marks(begin, False, default.strip(), "", closing or "\n\n", **marks)
    if not closing.endswith(user_open):
        raise _unreadable(name, model, "a system text does not stand before the first question")
    system_open, system_close = opening[len(begin) :], closing[: -len(user_open)]
    default = default.removeprefix(system_open)
    default = default[: len(default) - len(system_close)] if default.endswith(system_close) else default
    return Marks(begin, True, default, system_open, system_close, **marks)


def _close(tokenizer: Any, text: str) -> tuple[str, str]:
    """Return what closes a turn at the beginning of a text, its white space included, and the token in it."""
    words = sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}, key=len, reverse=True)
    word = next((word for word in words if word and text.lstrip().startswith(word)), "")
    if not word:
        return "", ""
    stop = text.index(word) + len(word)
    return text[: stop + len(text[stop:]) - len(text[stop:].lstrip())], word


def _unreadable(name: str, model: str, why: str) -> ModelError:
    return ModelError(
        f"model '{model}': the marks of turns for chat_template = \"{name}\" cannot be read off its own template: {why}"
    )
