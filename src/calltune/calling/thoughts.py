"""Thoughts of rows and of templates: which mode a row is taught in, and whether a template can write what was thought.

A row is taught with thinking on where each of its answers has a thought, and with thinking off otherwise. In a row with
thinking off no message has a thought, because what is served then holds none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from calltune.calling.parsed import ParsedAnswer
from calltune.errors import ModelError, TemplateLimitError
from calltune.types import Example, Message, Preference, Tool, ToolCall

Row = TypeVar("Row", bound=Example | Preference)

LEFT_OUT = "rows without a thought are left out, as the model could not be told not to think"
"""What becomes of rows where a template's prompt does not say whether to think."""


class Writer(Protocol):
    """What writes answers and reads them back: a `calltune.calling.chat.Chat`."""

    name: str

    def prompt_and_answers(
        self, messages: Sequence[Message], tools: Sequence[Tool], answers: Sequence[Message]
    ) -> tuple[str, list[str]]:
        """The prompt and the text of each answer."""
        ...

    def parse(self, text: str, tools: Sequence[Tool]) -> ParsedAnswer:
        """An answer's text, read back."""
        ...


_QUESTION = Message("user", "Probe question 7716?")
_TOOL = Tool("probe_lookup", "Probe tool 2290.", {"type": "object", "properties": {"probe_key": {"type": "string"}}})
_THOUGHT = "Probe thought 6153."
_TEXT = Message("assistant", "Probe answer 8841.", thought=_THOUGHT)
_CALL = Message("assistant", "", (ToolCall("probe_lookup", {"probe_key": "probe value 1035"}),), _THOUGHT)


def have_thoughts(answers: Sequence[Message]) -> bool:
    """Return whether each of these answers has a thought, so that they are taught with thinking on."""
    return bool(answers) and all(answer.thought for answer in answers)


def without_thought(row: Row) -> Row:
    """Return a row of whose messages none has a thought."""
    if isinstance(row, Example):
        if not any(message.thought for message in row.messages):
            return row
        return replace(row, messages=tuple(map(_unthinking, row.messages)))
    if not any(message.thought for message in (*row.prompt, *row.answers)):
        return row
    prompt = tuple(map(_unthinking, row.prompt))
    return replace(row, prompt=prompt, chosen=_unthinking(row.chosen), rejected=_unthinking(row.rejected))


def settled(row: Row) -> Row:
    """Return a row as it is in its own mode: without any thought, unless each of its answers has one."""
    return row if have_thoughts(row.answers) else without_thought(row)


def in_both_modes(rows: Iterable[Row]) -> list[Row]:
    """Return each row, and behind one with a thought the same row without it, for thinking off."""
    both = list[Row]()
    for row in rows:
        both.append(row)
        if have_thoughts(row.answers):
            both.append(replace(without_thought(row), id=f"{row.id} (thinking off)"))
    return both


def _unthinking(message: Message) -> Message:
    return replace(message, thought="") if message.thought else message


def thought_fault(chat: Writer) -> str:
    """Return why thoughts cannot be taught and taken off again with this template, or an empty string.

    Args:
        chat: with thinking on.
    """
    try:
        _, texts = chat.prompt_and_answers([_QUESTION], [_TOOL], [_TEXT, _CALL])
        read = [chat.parse(text, [_TOOL]) for text in texts]
    except TemplateLimitError:
        raise
    except ModelError as error:
        return str(error).removeprefix(f"model '{chat.name}': ")
    if not all(_THOUGHT in text for text in texts):
        return "its chat template leaves out what an answer's thought says"
    if not all("</think>" in text for text in texts):
        return "its chat template writes thoughts in other tags than <think>, which calltune cannot take off again"
    return next(filter(None, map(_misread, read, (_TEXT, _CALL))), "")


def _misread(read: ParsedAnswer, written: Message) -> str:
    if read.message is None or read.message != written:
        return "with a thought before it, its chat template writes an answer that is read back as another one"
    if read.message.thought != written.thought:
        return "its chat template writes a thought that is read back as another one"
    return ""
