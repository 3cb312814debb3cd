"""Results of tools that do not fit their calls: given back in another order than they were asked for.

Two things tell it: a result that repeats the values of another call of its conversation, and one that has the keys
which another tool's results have.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log
from typing import Any, Protocol, TypeVar

from calltune.calling.strict_json import shortened
from calltune.types import Message, ToolCall

_LEAST_GAIN = log(100)
"""How much likelier two results must be the other way round."""

_MOST = 40
"""Calls of one conversation that are held against each other."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call and its result. `batch` numbers the answer that it stands in."""

    call: ToolCall
    result: str
    batch: int


def exchanges(messages: Sequence[Message]) -> tuple[Exchange, ...]:
    """Return the calls of a conversation that have a result, each with it."""
    shown, waiting, batch = list[Exchange](), list[ToolCall](), 0
    for message in messages:
        if message.role == "tool":
            if waiting:
                shown.append(Exchange(waiting.pop(0), message.content, batch))
        else:
            waiting, batch = list(message.tool_calls), batch + 1
    return tuple(shown[-_MOST:])


def swapped(shown: Sequence[Exchange]) -> str:
    """Return which two calls have each other's results, by the values that they repeat, or an empty string.

    What a later call takes from an earlier result is no sign. So one of two calls that were made at once is enough,
    and of two that were made one after the other both must be repeated crosswise, and neither by its own result.
    """
    if len(shown) < 2:
        return ""
    own = [_values(each.call) for each in shown]
    texts = [each.result.casefold() for each in shown]
    for (first, one), (second, other) in combinations(enumerate(shown), 2):
        if one.result == other.result:
            continue
        mine, theirs = own[first] - own[second], own[second] - own[first]
        if _echoes(mine, texts[first]) or _echoes(theirs, texts[second]):
            continue
        crossed = _echoes(mine, texts[second]), _echoes(theirs, texts[first])
        if all(crossed) or (any(crossed) and one.batch == other.batch):
            return (
                f"the results of {shortened(one.call.name)} and {shortened(other.call.name)} repeat each other's values"
            )
    return ""


def _values(call: ToolCall) -> frozenset[str]:
    """Return the texts and numbers among a call's arguments that are long enough to be known again."""
    return frozenset(text for text in _leaves(call.arguments) if 3 <= len(text) <= 80)


def _leaves(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in _leaves(inner)]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in _leaves(inner)]
    return [] if value is None or isinstance(value, bool) else [str(value).strip().casefold()]


def _echoes(values: frozenset[str], result: str) -> bool:
    return any(value in result and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", result) for value in values)


def keys_of(result: str) -> tuple[str, ...]:
    """Return the keys of a result that is an object, or a list of them, in order; nothing for any other."""
    text = result.lstrip()
    if text[:1] not in ("{", "["):
        return ()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    value = value[0] if isinstance(value, list) and value else value
    return tuple(sorted(map(str, value)))[:30] if isinstance(value, dict) else ()


class Answered(Protocol):
    """What is known of the calls that a row's conversation shows: each one's tool, and the keys of its result."""

    source: int
    results: tuple[tuple[str, tuple[str, ...]], ...]


Row = TypeVar("Row", bound=Answered)


def swapped_beside_others(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Return the rows that show two results which would fit better the other way round.

    How a result fits a tool is how likely its keys are, as often as that tool's results of the same source have each.
    """
    keys: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    totals = Counter[tuple[int, str]]()
    for row in rows:
        for tool, names in row.results:
            if names:
                totals[row.source, tool] += 1
                keys[row.source, tool].update(names)
    fits: dict[tuple[tuple[int, str], tuple[str, ...]], float] = {}

    def fit(tool: tuple[int, str], names: tuple[str, ...]) -> float:
        """Return the logarithm of how likely a result of a tool has these keys and no others."""
        if (tool, names) not in fits:
            shares = {name: (keys[tool][name] + 0.5) / (totals[tool] + 1) for name in {*keys[tool], *names}}
            fits[tool, names] = sum(log(share if name in names else 1 - share) for name, share in shares.items())
        return fits[tool, names]

    told = []
    for row in rows:
        for (one, names), (other, others) in combinations(dict.fromkeys(row.results), 2):
            if one == other or names == others or not names or not others:
                continue
            first, second = (row.source, one), (row.source, other)
            gain = fit(first, others) + fit(second, names) - fit(first, names) - fit(second, others)
            if gain > _LEAST_GAIN:
                told.append((row, f"the results of {shortened(one)} and {shortened(other)} have each other's keys"))
                break
    return told
