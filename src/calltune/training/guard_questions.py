"""The questions that a model in training is asked: the run's own rows, never a benchmark's, of every behaviour alike.

A row's place among those of its behaviour is the hash of what it asks, so that the same data give the same questions
whatever their order. Rows that ask the same and expect different behaviours are left out.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calltune.calling.chat import Chat
from calltune.data.rows import read_examples, read_preferences
from calltune.types import BEHAVIORS, Behavior, Example, Message, Preference, Sample

_Row = Example | Preference
_HELD_OUT: tuple[tuple[str, Callable[[Path], Sequence[_Row]]], ...] = (
    ("validation.jsonl", read_examples),
    ("validation_preferences.jsonl", read_preferences),
)
_TRAINED_ON: tuple[tuple[str, Callable[[Path], Sequence[_Row]]], ...] = (
    ("train.jsonl", read_examples),
    ("preferences.jsonl", read_preferences),
)


@dataclass(frozen=True, slots=True)
class GuardQuestion:
    """What the model is asked, with the known answer; `is_held_out` where no stage trains on it."""

    sample: Sample
    gold: Message
    behavior: Behavior
    is_held_out: bool
    num_answer_tokens: int


def guard_questions(data: Path, chat: Chat, count: int, max_length: int, max_new_tokens: int) -> list[GuardQuestion]:
    """Choose questions from the rows in `data/`, one behaviour after the other, so that a few of them are balanced too.

    Args:
        count: at most so many.
        max_length: of a prompt with its known answer, in tokens; what is longer is not asked.
        max_new_tokens: a known call that is longer is not asked, since it could never be written.

    Raises:
        DataError: a row is damaged.
    """
    held_out = _by_behavior(data, _HELD_OUT)
    quota = -(-count // len(BEHAVIORS))
    enough = all(len(rows) >= quota for rows in held_out.values())
    # They are many, and not read where they are not needed.
    trained_on = {behavior: {} for behavior in BEHAVIORS} if enough else _by_behavior(data, _TRAINED_ON)
    waiting = [_asked(chat, held_out[b], trained_on[b], max_length, max_new_tokens) for b in BEHAVIORS]
    chosen: list[GuardQuestion] = []
    while waiting and len(chosen) < count:
        taken = [(queue, next(queue, None)) for queue in waiting]
        chosen += [question for _, question in taken if question]
        waiting = [queue for queue, question in taken if question]
    return chosen[:count]


def _by_behavior(
    data: Path, files: Iterable[tuple[str, Callable[[Path], Sequence[_Row]]]]
) -> dict[Behavior, dict[str, _Row]]:
    """Rows by behaviour and by the hash of what they ask, each question once, the smallest hash first."""
    rows: dict[str, _Row] = {}
    contradicted = set[str]()
    for name, read in files:
        for row in read(data / name) if (data / name).exists() else ():
            key = _key(row)
            if rows.setdefault(key, row).behavior != row.behavior:
                contradicted.add(key)
    ordered = [(key, rows[key]) for key in sorted(rows.keys() - contradicted)]
    return {behavior: {key: row for key, row in ordered if row.behavior == behavior} for behavior in BEHAVIORS}


def _key(row: _Row) -> str:
    """What tells one question from another: the words of the conversation, and which tools there are."""
    said = [f"{message.role}: {message.content}" for message in row.prompt]
    return hashlib.sha256("\n".join([*said, *(tool.name for tool in row.tools)]).encode()).hexdigest()


def _asked(
    chat: Chat, held_out: dict[str, _Row], trained_on: dict[str, _Row], max_length: int, max_new_tokens: int
) -> Iterator[GuardQuestion]:
    """Those of one behaviour that can be asked, held-out ones first."""
    for key, row in [*held_out.items(), *((key, row) for key, row in trained_on.items() if key not in held_out)]:
        gold = row.answers[0]
        prompt, (answer,) = chat.prompt_and_answers(
            row.prompt, row.tools, [Message("assistant", gold.content, gold.tool_calls)]
        )
        num_prompt, num_answer = (len(ids) for ids in chat.tokenizer([prompt, answer]).input_ids)
        if num_prompt + num_answer > max_length or (gold.tool_calls and num_answer > max_new_tokens):
            continue
        sample = Sample(row.id, "guard", row.prompt, row.tools, None, behavior=row.behavior)
        yield GuardQuestion(sample, gold, row.behavior, key in held_out, num_answer)
