"""Two baselines that answer When2Call without any model; every model's scores should be read beside theirs.

The offered call is made up from the true tool and the full question. So where the tool was taken out of the row, the
call names a tool that is not there, and where an argument was taken out of the question, the call holds a value that is
not there. Looking for these two signs decides most rows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calltune.types import BEHAVIORS, Behavior, Sample


def read_options(sample: Sample) -> Behavior:
    """Return the behaviour that fits the offered call: `tool_call`, `request_for_info` or `cannot_answer`.

    It is `cannot_answer` when the call's tool is not among the sample's tools, `request_for_info` when a value of its
    arguments is not in the question, and `tool_call` otherwise. Values are looked for as they are written, in any case;
    those in lists and objects are looked for one by one. True, false and null are no evidence, because a question
    seldom spells them out.

    Raises:
        KeyError: the sample has no `tool_call` choice.
    """
    (call,) = sample.choices["tool_call"].tool_calls
    if call.name not in {tool.name for tool in sample.tools}:
        return "cannot_answer"
    question = "\n".join(message.content for message in sample.messages).casefold()
    all_in_question = all(value.casefold() in question for value in _leaves(call.arguments))
    return "tool_call" if all_in_question else "request_for_info"


def majority(targets: Sequence[str]) -> Behavior:
    """Return the most frequent target; among equals, the first in When2Call's order.

    The other baseline always answers it.
    """
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
