"""When2Call's test layout, read once for every benchmark that asks its questions.

Keys: `uuid, question, correct_answer, answers{direct, tool_call, request_for_info, cannot_answer}, tools` and, by
class, `orig_tools`, `orig_question`, `held_out_param`; tools and the call are JSON text. Hub dataset nvidia/When2Call,
config `test`, splits `mcq` and `llm_judge`. Questions that calltune made from conversations have `messages` besides:
the whole prompt as calltune writes messages, of which `question` is the last.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from calltune.calling.schema import normalize_tool
from calltune.calling.strict_json import check_value
from calltune.config.table import Table
from calltune.errors import DataError
from calltune.evaluation.answers import message_from
from calltune.files.json_lines import parse_object, read_jsonl, require
from calltune.runtime.terminal import say
from calltune.types import BEHAVIORS, ROLES, Behavior, Message, Sample, Tool, ToolCall


class QuestionSettings(Table):
    """The keys that say which questions are asked."""

    path: str = "nvidia/When2Call"
    """A Hub id, or a local file in the published test layout."""

    split: Literal["mcq", "llm_judge"] = "mcq"
    """Which of the Hub dataset's test splits; a local file has one."""

    source: str | None = None
    """Only the questions whose `source` is this one, such as those about tools that training never saw."""

    limit: Annotated[int, pydantic.Field(gt=0)] | None = None
    """Questions to take from the beginning."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row: the answers of all four behaviours, one of which is right; of one that is asked freely the right one."""

    id: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    correct: Behavior
    answers: Mapping[Behavior, Message]
    published: Mapping[str, Any]
    """`question`, `tools` and `answers` as they were published, tools and call as JSON text."""

    @property
    def group(self) -> tuple[str, str]:
        """What it is counted under: the class of its right answer."""
        return "class", self.correct

    def sample(self, benchmark: str, target: Any, **beside: Any) -> Sample:
        """The question as a benchmark asks it; `beside` are further fields of the sample."""
        return Sample(
            id=self.id,
            benchmark=benchmark,
            messages=self.messages,
            tools=self.tools,
            target=target,
            behavior=self.correct,
            group=self.group,
            **beside,
        )


def questions(settings: QuestionSettings, *, with_four: bool = True) -> Iterator[Question]:
    """The questions, parsed.

    Args:
        with_four: whether only questions with all four answers are wanted. The others, which are marked as asked
            freely, are then left out, and their number is told.

    Raises:
        DataError: the data is missing, has no rows, repeats an id, or a row is broken: file, line and field.
    """
    seen: set[str] = set()
    left_out = Counter[str]()
    rows = ((where, row) for where, row in _rows(settings) if settings.source in (None, row.get("source")))
    wanted = (each for each in rows if not (with_four and _is_free(*each, left_out)))
    for where, row in islice(wanted, settings.limit):
        question = _question(row, where)
        if question.id in seen:
            raise DataError(f"{where}: 'uuid' {question.id} occurs twice")
        seen.add(question.id)
        yield question
    if number := left_out["freely"]:
        name = Path(settings.path).name
        say(f"{name}: {number:,} more questions have no four answers; when2call_generation asks them")
    if not seen:
        of_source = f" of the source '{settings.source}'" if settings.source else ""
        raise DataError(f"{settings.path}: holds no questions{of_source}")


def _is_free(where: str, row: Mapping[str, Any], counts: Counter[str]) -> bool:
    """Return whether a question is asked freely, as it has the right answer alone; count it then.

    Raises:
        DataError: it says something else of how it is asked.
    """
    if "asked" not in row:
        return False
    if row["asked"] != "freely":
        raise DataError(f"{where}: 'asked' must be \"freely\" where it is there")
    counts["freely"] += 1
    return True


def _rows(settings: QuestionSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    path = Path(settings.path)
    if path.is_file():
        yield from read_jsonl(path)
        return
    if path.exists() or path.suffix or path.is_absolute() or settings.path.count("/") != 1:
        raise DataError(f"{path}: no such file of questions")
    import datasets

    try:
        rows = datasets.load_dataset(settings.path, "test", split=settings.split, streaming=True)
        for number, row in enumerate(rows, start=1):
            where = f"{settings.path}/{settings.split}:{number}"
            yield where, check_value(dict(row), where)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{settings.path}: not a local file, and the Hub did not give it: {reason}") from None


def _question(row: Mapping[str, Any], where: str) -> Question:
    answers = require(row, "answers", dict, where)
    correct = require(row, "correct_answer", str, where)
    if correct not in BEHAVIORS:
        raise DataError(f"{where}: 'correct_answer' must be one of {', '.join(BEHAVIORS)}, not '{correct}'")
    tools = require(row, "tools", list, where)
    messages: dict[Behavior, Message] = {}
    behaviors = (correct,) if _is_free(where, row, Counter()) else BEHAVIORS
    for behavior in behaviors:
        text = require(answers, behavior, str, f"{where}: answers")
        if not text.strip():
            raise DataError(f"{where}: answers: '{behavior}' is empty")
        messages[behavior] = _call(text, where) if behavior == "tool_call" else Message("assistant", text)
    return Question(
        id=require(row, "uuid", str, where),
        messages=_prompt(row, where),
        tools=tuple(normalize_tool(tool, f"{where}: tools[{number}]") for number, tool in enumerate(tools)),
        correct=correct,
        answers=messages,
        published={
            "question": row["question"],
            "tools": [tool if isinstance(tool, str) else json.dumps(tool, allow_nan=False) for tool in tools],
            "answers": {behavior: answers[behavior] for behavior in behaviors},
            **({"messages": row["messages"]} if "messages" in row else {}),
        },
    )


def _prompt(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    question = Message("user", require(row, "question", str, where))
    if "messages" not in row:
        return (question,)
    messages = require(row, "messages", list, where)
    for number, message in enumerate(messages):
        place = f"{where}: messages[{number}]"
        if not isinstance(message, dict) or require(message, "role", str, place) not in ROLES:
            raise DataError(f"{place}: must be an object whose 'role' is one of {', '.join(ROLES)}")
        require(message, "content", str, place)
        for call in require(message, "tool_calls", list, place):
            if not isinstance(call, dict):
                raise DataError(f"{place}: a call must be an object, not {type(call).__name__}")
            require(call, "name", str, place)
            require(call, "arguments", dict, place)
    prompt = tuple(map(message_from, messages))
    if prompt[-1:] != (question,):
        raise DataError(f"{where}: 'messages' must end with the user's 'question'")
    return prompt


def _call(text: str, where: str) -> Message:
    where = f"{where}: answers.tool_call"
    call = parse_object(text, where)
    return Message(
        "assistant", "", (ToolCall(require(call, "name", str, where), require(call, "arguments", dict, where)),)
    )
