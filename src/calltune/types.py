"""The nouns that every stage speaks: tools, messages, training rows, questions, answers and verdicts.

All are frozen and slotted. Training rows use TRL's words, evaluation uses Inspect's, behaviours are When2Call's.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Behavior = Literal["direct", "tool_call", "request_for_info", "cannot_answer"]
"""What an assistant may do with a question; the names and their order are When2Call's."""

BEHAVIORS: tuple[Behavior, ...] = get_args(Behavior)

Role = Literal["system", "user", "assistant", "tool"]

ROLES: tuple[Role, ...] = get_args(Role)

CompletionStatus = Literal["ok", "malformed", "truncated", "error"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool; `arguments` are JSON values by parameter name."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as offered to the model; `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; an assistant's turn holds text, calls, or both.

    `thought` is what the assistant thought before it answered, where that is kept. It is no part of what was said:
    messages that differ in nothing else are equal.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    thought: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation to learn from; its last message is the assistant's answer.

    A row that was made from another one names it as `parent`, and the `rule` by which it was made. `after` is what
    stands behind the answer in its record, up to and with the user's next turn. It is not learned: it tells what the
    answer was worth.
    """

    id: str
    source: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    behavior: Behavior
    parent: str = ""
    rule: str = ""
    after: tuple[Message, ...] = field(default=(), compare=False)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the answer."""
        return self.messages[:-1]

    @property
    def answers(self) -> tuple[Message, ...]:
        """The answer alone; a `Preference` has two."""
        return (self.messages[-1],)


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt, the better one named `chosen`; `behavior` is the chosen answer's.

    `parent` and `rule` are those of an `Example`.
    """

    id: str
    source: str
    prompt: tuple[Message, ...]
    tools: tuple[Tool, ...]
    chosen: Message
    rejected: Message
    behavior: Behavior
    parent: str = ""
    rule: str = ""

    @property
    def answers(self) -> tuple[Message, ...]:
        """The chosen answer, then the rejected one: the first is right, as an `Example`'s only one is."""
        return self.chosen, self.rejected


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row of a source that cannot be used. `reason` is one line; `row` is the JSON value as it was read, or its text.

    `id` is `file:line`, or `file:line#turn` where only one answer of a conversation is wrong.
    """

    id: str
    source: str
    reason: str
    row: Any


def plain(noun: Any) -> dict[str, Any]:
    """A noun as plain objects, as files hold it; a message has a `thought` there only where it has one."""
    return asdict(noun, dict_factory=_fields)


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if name != "thought" or value}


def chosen_example(pair: Preference) -> Example:
    """The chosen answer of a pair as an example to imitate."""
    return Example(pair.id, pair.source, (*pair.prompt, pair.chosen), pair.tools, pair.behavior)


@dataclass(frozen=True, slots=True)
class Sample:
    """One question of a benchmark.

    `choices` (label -> answer) not empty means: score by log-likelihood over them. `target` is what the benchmark's
    scorer compares with: a label, or JSON such as the accepted calls; nobody else looks inside. `metadata` keeps what a
    benchmark needs besides. What all others ask of a target, the benchmark says: `behavior` is the behaviour that is
    right, None where more than one is or none of them, and `group` is what the question is counted under, (kind, name)
    such as `("class", "direct")` or `("category", "parallel")`; a question without one is counted with all alone.
    """

    id: str
    benchmark: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    target: Any
    choices: Mapping[str, Message] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    behavior: Behavior | None = None
    group: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn at random: how many to each question, from which tokens, and the seed of the draw.

    `temperature` divides the logits; of the likeliest tokens those are kept whose probabilities reach `top_p` together.
    """

    num_answers: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """A prompt and the texts whose log-likelihood after it is asked."""

    prompt: str
    continuations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model gave for a sample: an answer, or by choice label the choice's log-likelihood and its length.

    `logprobs` are natural logarithms summed over the choice's tokens, `num_characters` the length of its text in
    Unicode characters. `reason` says what is wrong when `status` is not ok.
    """

    sample_id: str
    message: Message | None
    text: str
    status: CompletionStatus
    logprobs: Mapping[str, float] = field(default_factory=dict)
    num_characters: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """The verdict on one completion; `value` None means it could not be scored and enters no average."""

    sample_id: str
    value: float | None
    label: str
    reason: str = ""
