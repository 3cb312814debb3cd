"""ShareGPT's layout, `conversations` of `from` and `value`, as LLaMA-Factory, Hermes and Glaive write calls in it.

A call stands in a turn of its own (`function_call`, whose value is a call or a list of them), or in the assistant's
text (Hermes' `<tool_call>{...}</tool_call>`, ToolACE's `[name(key="value")]`). A result stands in a turn of
`observation` or `tool`. The tools are the row's `tools`, a list or its JSON text, or stand in the system's text, see
`offers`. With `chosen` and `rejected` a row is a pair (LLaMA-Factory). A row of `system` and `chat` is Glaive's, see
`glaive_chat`.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from calltune.calling.strict_json import parse_value, shortened
from calltune.data.sources.chat_messages import calls_of, finish_of
from calltune.data.sources.columns import with_columns
from calltune.data.sources.conversations import ConversationSettings, answers_of
from calltune.data.sources.files import Noun, files_fingerprint, nouns_of, read_rows
from calltune.data.sources.glaive_chat import glaive_conversation, is_glaive
from calltune.data.sources.marks import is_marked_learned
from calltune.data.sources.message_parts import read_call, result_text
from calltune.data.sources.offers import offered_in_text
from calltune.data.sources.pairs import pair_of
from calltune.data.sources.records import READ, tools_of, with_system
from calltune.data.sources.turns import Turn, without_thoughts
from calltune.data.sources.unread import tell_unread
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import ToolCall

_CALLERS = ("function_call", "tool_call")
_ASSISTANTS = ("gpt", "assistant", "chatgpt", "model", "bot", *_CALLERS)
_RESULTS = ("observation", "tool", "tool_response", "function_response", "function")
_USERS = ("human", "user")
_RESPONSE = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
_READ = frozenset(
    (
        *("from", "value", "role", "content", "weight", "train", "loss", "trainable", "train_on_turn", "name"),
        *("tool_calls", "tool_call_id", "finish_reason", "stop_reason", "status"),
    )
)


class Settings(ConversationSettings):
    """The keys of a `sharegpt` source."""


def read(settings: Settings) -> Iterator[Noun]:
    """Yield an example of each answer, and what cannot be used.

    Raises:
        DataError: a file is missing or not JSON as a whole.
    """

    def parse(raw: dict[str, Any], where: str) -> Iterator[Noun]:
        if is_glaive(raw):
            tell_unread(raw, ("system", "chat"), where, "row")
            listed, tools = glaive_conversation(raw, where)
            turns = [_turn({"from": kind, "value": value}, place) for place, kind, value in listed]
            yield from answers_of(turns, tools, settings.turns, ("sharegpt", where, raw))
            return
        row = with_columns(raw, where)
        if "chosen" in row and "rejected" in row and ("conversations" in row or "messages" in row):
            yield pair_of(row, where, "sharegpt", _turns)
            return
        tell_unread(row, READ, where, "row")
        turns = with_system(_turns(require(row, "conversations", list, where), f"{where}: conversations"), row, where)
        turns, tools = offered_in_text(turns, tools_of((row,), where))
        yield from answers_of(turns, tools, settings.turns, ("sharegpt", where, raw))

    return nouns_of(read_rows(settings.path), "sharegpt", parse)


def fingerprint(settings: Settings) -> str:
    """Return the hash of the files."""
    return files_fingerprint(settings.path)


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """None: all of its rows are trained on."""
    return iter(())


def _turns(raw: Any, where: str) -> list[Turn]:
    """Return the turns of a list. One that cannot be read says so in its `problem`."""
    turns = list[Turn]()
    for number, turn in enumerate(raw):
        place = f"{where}[{number}]"
        try:
            turns += _split(turn, place)
        except DataError as error:
            named = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
            turns.append(Turn(place, "assistant" if named in _ASSISTANTS else "user", problem=str(error)))
    return turns


def _split(raw: Any, where: str) -> list[Turn]:
    """Return the turns that one is: results of several calls may stand in one."""
    turn = _turn(raw, where)
    texts = _RESPONSE.findall(turn.text) if turn.role == "tool" and "</tool_response>" in turn.text else []
    if turn.role != "tool":
        return [turn]
    return [replace(turn, text=text.strip()) for text in texts or [turn.text]]


def _turn(raw: Any, where: str) -> Turn:
    """Return one turn.

    Raises:
        DataError: nobody known says it, or what is said cannot be read; the message begins with `where`.
    """
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a turn must be an object, not {type(raw).__name__}")
    by, said = ("role", "content") if "role" in raw and "from" not in raw else ("from", "value")
    kind, value = require(raw, by, str, where), raw.get(said)
    tell_unread(raw, _READ, where, "conversations")
    if kind in _CALLERS:
        calls = _calls(value, where)
        return Turn(where, "assistant", calls=calls, is_learned=is_marked_learned(raw, where), finish=finish_of(raw))
    if kind in _RESULTS:
        if "value" not in raw and "content" not in raw:
            raise DataError(f"{where}: 'value' must be str, not NoneType")
        return Turn(where, "tool", result_text(value, where), result_of=raw.get("tool_call_id"))
    if not isinstance(value, str):
        raise DataError(f"{where}: 'value' must be str, not {type(value).__name__}")
    if kind in _ASSISTANTS:
        calls = tuple(call for _, call in calls_of(raw, where)) if raw.get("tool_calls") else ()
        learned = is_marked_learned(raw, where)
        return Turn(where, "assistant", value, calls=calls, is_learned=learned, finish=finish_of(raw))
    if kind not in (*_USERS, "system"):
        raise DataError(f"{where}: 'from' is {shortened(kind)}, which is nobody known")
    return Turn(where, "user" if kind in _USERS else "system", value)


def _calls(value: Any, where: str) -> tuple[ToolCall, ...]:
    calls = parse_value(without_thoughts(value, where), f"{where}: value") if isinstance(value, str) else value
    calls = calls if isinstance(calls, list) else [calls]
    if not calls:
        raise DataError(f"{where}: 'value' holds no call")
    return tuple(read_call(call, f"{where}: value") for call in calls)
