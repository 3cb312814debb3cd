"""Rows of two answers to compare, `chosen` and `rejected`, behind a prompt under whatever name."""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from calltune.data.sources.conversations import preference_of
from calltune.data.sources.offers import offered_in_text
from calltune.data.sources.records import READ, tools_of, with_system
from calltune.data.sources.turns import Turn, messages_of, talk_of
from calltune.data.sources.unread import tell_unread
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Message, Preference, Tool

_PROMPTS = ("prompt", "messages", "conversations")


def pair_of(
    row: Mapping[str, Any],
    where: str,
    source: str,
    turns_of: Callable[[Any, str], list[Turn]],
    offered: Sequence[Tool] = (),
) -> Preference:
    """Return a row's pair.

    Args:
        turns_of: what reads a list of messages in the row's layout.
        offered: the tools of a row that names none.

    Raises:
        DataError: a key is missing, an answer cannot be learned, or both are the same.
    """
    tell_unread(row, READ, where, "row")
    key = next((key for key in _PROMPTS if row.get(key) is not None), "")
    before = turns_of(require(row, key, list, where), f"{where}: {key}") if key else []
    sides = [_side(row, side, where, turns_of) for side in ("chosen", "rejected")]
    head, tools = offered_in_text(with_system(before, row, where), tools_of((row,), where) or offered)
    prompt = messages_of(head, tools)
    chosen, rejected = (_messages(head, side, tools, len(prompt), n > 0) for n, side in enumerate(sides))
    if chosen == rejected:
        raise DataError(f"{where}: 'chosen' and 'rejected' are the same")
    if not before:
        num_common = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))))
        prompt, chosen, rejected = [*prompt, *chosen[:num_common]], chosen[num_common:], rejected[num_common:]
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if len(answer) != 1:
            raise DataError(f"{where}: '{name}' must hold one answer after the prompt, not {len(answer)} messages")
    return preference_of(source, where, prompt, tools, (chosen[0], rejected[0]))


def _side(row: Mapping[str, Any], key: str, where: str, turns_of: Callable[[Any, str], list[Turn]]) -> list[Turn]:
    raw = require(row, key, (list, dict), where)
    return turns_of([raw] if isinstance(raw, dict) else raw, f"{where}: {key}")


def _messages(
    head: list[Turn], side: list[Turn], tools: Sequence[Tool], num_before: int, is_worse: bool
) -> list[Message]:
    """Return the messages of one side, read as what goes on from the prompt.

    Raises:
        DataError: they cannot be followed, or one is not complete.
    """
    prefill = head and head[-1].role == "assistant" and side and side[0].role == "assistant"
    talk = talk_of(side if prefill else [*head, *side], tools, is_worse=is_worse)
    if problem := talk.problem or (not is_worse and talk.said and talk.said[-1].problem):
        raise DataError(problem)
    return [one.message for one in talk.said][0 if prefill else num_before :]
