"""What is known from all rows at once: the calls that decide something, every tool, every value ever given."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from calltune.calling.arguments import argument_schemas
from calltune.calling.schema import call_problems
from calltune.data.derive.tone import tone_of
from calltune.data.derive.twins import similarity
from calltune.data.derive.values import forms, same_value
from calltune.data.derive.vocabulary import content_words
from calltune.files.json_lines import to_json
from calltune.types import Example, Message, Preference, Tool, ToolCall

# A tool that is added must be farther away than a twin.
_FAR = 0.75
_LONGEST_VALUE = 5


@dataclass(frozen=True)
class Deciding:
    """A row whose call answers the user's last message; `target` is the tool of its first call."""

    row: Example
    target: Tool

    @property
    def call(self) -> ToolCall:
        """The first call of the answer."""
        return self.answer.tool_calls[0]

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the answer."""
        return self.row.prompt

    @property
    def answer(self) -> Message:
        """The answer, whose call decides."""
        return self.row.answers[0]

    @cached_property
    def vocabulary(self) -> set[str]:
        """Stems of the words by which the tool and its parameters are described."""
        schemas = argument_schemas(self.target.parameters)
        described = (f"{name} {schema.get('description', '')}" for name, schema in schemas.items())
        return content_words(" ".join([self.target.name, self.target.description, *described]))

    @cached_property
    def called_before(self) -> set[str]:
        """Names of the tools that the conversation has called already."""
        return {call.name for message in self.prompt for call in message.tool_calls}


def why_not_deciding(row: Example | Preference) -> str | None:
    """Why nothing is derived from a row; None for a deciding call."""
    if not isinstance(row, Example):
        return "is a pair already"
    calls = row.answers[0].tool_calls
    if not calls:
        return "calls no tool"
    if not row.prompt or row.prompt[-1].role != "user":
        return "its call follows a tool's result"
    if any(call_problems(call, row.tools) for call in calls):
        return "its call does not fit its tool"
    return None


class Material:
    """The rows, looked at once; nothing in it depends on a seed."""

    def __init__(self, rows: Sequence[Example | Preference]) -> None:
        self.deciding: list[Deciding] = []
        self.tone = tone_of(rows)
        self._tools: dict[str, Tool] = {}
        self._values: dict[tuple[str, str], dict[str, Any]] = {}
        self.names: set[str] = set()
        for row in rows:
            for tool in row.tools:
                self._tools.setdefault(to_json(tool), tool)
                self.names.add(tool.name)
            calls = [call for message in (*row.prompt, row.answers[0]) for call in message.tool_calls]
            for call in calls:
                for name, value in call.arguments.items():
                    for key in ((call.name, name), ("", name)):
                        self._values.setdefault(key, {}).setdefault(repr(value), value)
            if isinstance(row, Example) and why_not_deciding(row) is None:
                target = next(tool for tool in row.tools if tool.name == row.answers[0].tool_calls[0].name)
                self.deciding.append(Deciding(row, target))
        self.tools = [self._tools[key] for key in sorted(self._tools)]
        self._value_lists = {key: [found[name] for name in sorted(found)] for key, found in self._values.items()}
        self._said: dict[tuple[str, str], set[str]] = {}

    def values(self, tool: str, parameter: str) -> list[Any]:
        """Values that any row gave to this parameter of this tool; of any tool for a `tool` of ""."""
        return self._value_lists.get((tool, parameter), [])

    def other_value_in(self, text: str, case: Deciding, parameter: str) -> bool:
        """Whether the text holds what other rows gave as this argument, and what is no other argument of this call."""
        key = (case.target.name, parameter)
        if key not in self._said:
            self._said[key] = {
                form.casefold() for value in self.values(*key) for form in forms(value)[:1] if len(form) > 1
            }
        others = [value for name, value in case.call.arguments.items() if name != parameter]
        words = text.casefold().translate(str.maketrans(dict.fromkeys(".,;:!?\"'()", " "))).split()
        for length in range(1, _LONGEST_VALUE + 1):
            for start in range(len(words) - length + 1):
                said = " ".join(words[start : start + length])
                if said in self._said[key] and not any(same_value(said, other) for other in others):
                    return True
        return False

    def distractors(
        self, offered: Iterable[Tool], target: Tool, threshold: float, order: Sequence[float]
    ) -> list[Tool]:
        """Tools of other rows, at most one for each number of `order`, which picks them; none near the target."""
        names = {tool.name for tool in offered} | {target.name}
        found: list[Tool] = []
        for number in order:
            for step in range(8):
                tool = self.tools[(int(number * len(self.tools)) + step * 7) % len(self.tools)]
                if tool.name not in names and similarity(target, tool) < _FAR * threshold:
                    found.append(tool)
                    names.add(tool.name)
                    break
        return found
