"""Turns messages into training rows: one example for each answer, or a pair of answers to compare."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from calltune.calling.behavior import message_behavior
from calltune.calling.edits import Change, tell
from calltune.calling.schema import drop_null_padding, normalize_tools
from calltune.data.sources.files import FileSettings
from calltune.data.sources.turns import Turn, talk_of
from calltune.errors import DataError
from calltune.types import Example, Message, Preference, Rejected, Tool

Turns = Literal["all", "last"]


class ConversationSettings(FileSettings):
    """The keys of a source whose rows hold many answers."""

    turns: Turns = "all"
    """`all` makes an example of each answer, with what stands before it as its context; `last` makes one of the last
    answer alone."""


def read_tools(raw: Any, where: str) -> tuple[Tool, ...]:
    """Return a row's tools, in any published layout, as `normalize_tools` does.

    Raises:
        DataError: one of them is no tool.
    """
    return normalize_tools(raw, where)


def answers_of(
    turns: Sequence[Turn], tools: Sequence[Tool], which: Turns, place: tuple[str, str, Mapping[str, Any]]
) -> Iterator[Example | Rejected]:
    """Yield the examples of a conversation, each with the id `file:line#turn`; answers are counted from 1.

    Args:
        turns: the conversation. Where it cannot be followed further, what came before is kept, and the answer that
            would have come next is rejected; its reason says how many answers go with it.
        which: `last` asks for the last answer alone.
        place: the source's name, the row's `file:line`, and the row.

    Raises:
        DataError: no message is an answer to learn.
    """
    source, where, row = place
    answers, turn = list[Example | Rejected](), 0
    talk = talk_of(turns, tools)
    said = [without_padding(one.message, tools, f"{where}: message {n}") for n, one in enumerate(talk.said)]
    for number, (one, message) in enumerate(zip(talk.said, said, strict=True)):
        if message.role == "assistant":
            turn += 1
            row_id = f"{where}#{turn}"
            if one.is_learned and (problem := one.problem or _prefixed(where, answer_problem(said[:number], message))):
                answers.append(Rejected(row_id, source, problem, row))
            elif one.is_learned:
                behavior, after = message_behavior(message), _next_turn(said[number + 1 :])
                answers.append(Example(row_id, source, (*said[:number], message), tuple(tools), behavior, after=after))
    if talk.problem:
        later = talk.num_answers - turn - 1
        more = f" (later answers that go with it: {later})" if later > 0 else ""
        answers.append(Rejected(f"{where}#{turn + 1}", source, f"{talk.problem}{more}", row))
    if not answers:
        raise DataError(f"{where}: no message is an answer of the assistant to learn")
    yield from answers[-1:] if which == "last" else answers


def _next_turn(later: Sequence[Message]) -> tuple[Message, ...]:
    """Return the messages up to the user's next one, that included."""
    end = next((number for number, message in enumerate(later, start=1) if message.role == "user"), len(later))
    return tuple(later[:end])


def _prefixed(where: str, problem: str) -> str:
    return f"{where}: {problem}" if problem else ""


def answer_problem(before: Sequence[Message], answer: Message) -> str:
    """Return why an answer cannot be learned, or an empty string."""
    if not answer.content.strip() and not answer.tool_calls:
        return f"message {len(before)}: the answer has neither text nor calls"
    if not any(message.role == "user" for message in before):
        return f"message {len(before)}: no message of the user stands before the answer"
    return ""


def example_of(
    source: str, row_id: str, where: str, before: Sequence[Message], answer: Message, tools: Sequence[Tool]
) -> Example:
    """Return one answer as an example.

    Raises:
        DataError: the answer cannot be learned; the message begins with `where`.
    """
    conversation = [without_padding(m, tools, f"{where}: message {n}") for n, m in enumerate((*before, answer))]
    if problem := answer_problem(conversation[:-1], conversation[-1]):
        raise DataError(f"{where}: {problem}")
    return Example(row_id, source, tuple(conversation), tuple(tools), message_behavior(conversation[-1]))


def preference_of(
    source: str, where: str, prompt: Sequence[Message], tools: Sequence[Tool], answers: tuple[Message, Message]
) -> Preference:
    """Return a pair of the better and the worse answer to a prompt; its id is `where`.

    Raises:
        DataError: the prompt ends with an answer, an answer is none or empty, or both are the same.
    """
    prompt = [without_padding(m, tools, f"{where}: message {n}") for n, m in enumerate(prompt)]
    chosen, rejected = (without_padding(answer, tools, f"{where}: answer") for answer in answers)
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if answer.role != "assistant":
            raise DataError(f"{where}: the {name} answer must be the assistant's, not the {answer.role}'s")
        if problem := answer_problem(prompt, answer):
            raise DataError(f"{where}: {name}: {problem}")
    if prompt[-1].role == "assistant":
        raise DataError(f"{where}: the prompt must end before the assistant's answer")
    if chosen == rejected:
        raise DataError(f"{where}: the chosen and the rejected answer are the same")
    return Preference(where, source, tuple(prompt), tuple(tools), chosen, rejected, message_behavior(chosen))


def without_padding(message: Message, tools: Sequence[Tool], where: str) -> Message:
    """Return the message, with its calls rid of the nulls that Arrow wrote.

    What was dropped is told to the listener.
    """
    if not message.tool_calls:
        return message
    repaired = [drop_null_padding(call, tools) for call in message.tool_calls]
    changes: list[Change] = []
    for number, (_, dropped) in enumerate(repaired):
        changes += [replace(change, path=f"/tool_calls/{number}{change.path}") for change in dropped]
    if not changes:
        return message
    tell(where, "tool_calls", tuple(changes))
    return replace(message, tool_calls=tuple(call for call, _ in repaired))
