"""Whether a model has room for the answers that are known to be right: one that is longer can only be cut off."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calltune.calling.chat import Chat
from calltune.calling.layout import message_dicts
from calltune.evaluation.jobs import Job
from calltune.files.json_lines import json_text
from calltune.types import Message, Sample, Tool

_MEASURED = 50  # of the answers with the most characters; one with fewer is not expected to have more tokens


@dataclass(frozen=True, slots=True)
class Known:
    """A question, and an answer to it that is known to be right."""

    id: str
    messages: Sequence[Message]
    tools: Sequence[Tool]
    answer: Message


def cut_off(chat: Chat, known: Iterable[Known], room: int, key: str) -> str:
    """A line that says which known answer is longer than the tokens that an answer may have; empty where none is.

    Args:
        room: in tokens, without those of a thought.
        key: the run file's, which says so many.
    """
    known = [replace(one, answer=replace(one.answer, thought="")) for one in known]
    longest = sorted(known, key=lambda one: -len(json_text(message_dicts([one.answer]))))[:_MEASURED]
    lengths = [
        (len(chat.tokenizer(chat.answer(one.messages, one.tools, one.answer), add_special_tokens=False).input_ids), one)
        for one in longest
    ]
    most, one = max(lengths, key=lambda pair: pair[0], default=(0, None))
    if one is None or most <= room:
        return ""
    return f"the answer that is known to '{one.id}' has {most:,} tokens, and {key} = {room:,} cuts it off; raise it"


def known_answers(job: Job) -> list[Known]:
    """The answers that a benchmark knows, of those of its questions that want a call; none where it does not tell."""
    tell: Callable[[Sample], Message | None] | None = getattr(job.module, "known_answer", None)
    found: list[tuple[Sample, Any]] = [(sample, tell(sample)) for sample in job.samples] if tell else []
    return [Known(sample.id, sample.messages, sample.tools, answer) for sample, answer in found if answer]
