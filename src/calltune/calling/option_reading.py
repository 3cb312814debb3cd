"""What When2Call's questions give away without any model: scores that every model's should be read beside.

The offered call is made up from the true tool and the full question. So where the tool was taken out of the row the
call names a tool that is not there, and where an argument was taken out of the question the call holds a value that is
not there: looking for the two decides most rows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calltune.types import BEHAVIORS, Behavior, Sample


def read_options(sample: Sample) -> Behavior:
    """The behaviour that fits the offered call: `tool_call`, `request_for_info` or `cannot_answer`.

    `cannot_answer` when the call's tool is not among the sample's tools, `request_for_info` when a value of its
    arguments is not in the question, else `tool_call`. Values are looked for as they are written, in any case; those in
    lists and objects one by one. True, false and null are no evidence: a question seldom spells them out.

    Raises:
        KeyError: the sample has no `tool_call` choice.
    """
    (call,) = sample.choices["tool_call"].tool_calls
    if call.name not in {tool.name for tool in sample.tools}:
        return "cannot_answer"
    question = "\n".join(message.content for message in sample.messages).casefold()
    given = all(value.casefold() in question for value in _leaves(call.arguments))
    return "tool_call" if given else "request_for_info"


def majority(targets: Sequence[str]) -> Behavior:
    """The most frequent target, the first in When2Call's order among equals: the other baseline always answers it."""
    counts = Counter(targets)
    return max(BEHAVIORS, key=lambda behavior: counts[behavior])


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
