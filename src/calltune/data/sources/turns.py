"""One conversation model: what the messages of every layout become before an answer is judged.

A source reads its layout into turns. `talk_of` makes messages of them, by the same rules for all sources:

* Neighbouring turns of the assistant are one answer, their texts and calls joined.
* A result belongs to the call with its id; without ids, to the next call that has none yet. Behind a call without its
  result, and at a result without its call, nothing can be learned any more.
* Thoughts (`<think>`) are kept beside the answer where the run file asks for them. Otherwise they are dropped and told,
  as thinking is off in every prompt then, and no answer may begin with them.
* A call that was left in the text is a call; where it cannot be read, the answer is unusable and never mere words.
* What the record marks as not to be learned is context alone. An answer that the record itself calls incomplete is
  rejected.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from calltune.calling.call_text import read_call_text
from calltune.calling.edits import Change, tell
from calltune.calling.strict_json import shortened
from calltune.data.sources.marks import unfinished
from calltune.data.sources.thoughts import are_kept, joined
from calltune.errors import DataError
from calltune.types import Message, Role, Tool, ToolCall

_THOUGHTS = re.compile(
    r"<(think|thinking|thought|reasoning)>(?:(?!<\1>).)*?</\1>\s*|\[THINK\](?:(?!\[THINK\]).)*?\[/THINK\]\s*", re.DOTALL
)
_TAG = re.compile(r"</?(?:think|thinking|thought|reasoning)>|\[/?THINK\]")
_LAST_THOUGHT = re.compile(r"^.*</(?:think|thinking)>\s*", re.DOTALL)
_OPEN_THOUGHT = re.compile(r"^\s*(?:<(?:think|thinking|thought|reasoning)>|\[THINK\])|<think>")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as a layout has it.

    `place` is where it stands, `file:line: messages[3]`. `ids` are those of its calls, None where a call has none;
    `result_of` is the id of the call that a tool's turn answers, and `name` that call's name where the turn says it.
    `finish` is the record's own word on how an answer ended. `problem` says why the turn cannot be read. `thought` is
    what stood beside the text of an answer; what stands within the text is still there.
    """

    place: str
    role: Role
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    ids: tuple[Any, ...] = ()
    result_of: Any = None
    name: str = ""
    is_learned: bool = True
    finish: str = ""
    problem: str = ""
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a conversation; `problem` says why this answer alone cannot be learned."""

    message: Message
    is_learned: bool = True
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Talk:
    """The messages of a conversation as far as it can be followed; `problem` says why it cannot any further.

    `num_answers` counts the assistant's answers of the whole, also those behind the problem.
    """

    said: tuple[Said, ...]
    problem: str
    num_answers: int


def talk_of(turns: Sequence[Turn], tools: Sequence[Tool], *, is_worse: bool = False) -> Talk:
    """Return the conversation of turns, by the rules above.

    Args:
        tools: those that the row offers.
        is_worse: whether it is the worse side of a pair. A call that it wrote in no known format stays its words, as
            that may be what is wrong with it.
    """
    num_answers = sum(role == "assistant" for role, _ in groupby(turn.role for turn in turns))
    said, problem = list[Said](), ""
    try:
        for one in _said(turns, tools, is_worse=is_worse):
            said.append(one)
    except DataError as error:
        problem = str(error)
    return Talk(tuple(said), problem, num_answers)


def messages_of(turns: Sequence[Turn], tools: Sequence[Tool]) -> list[Message]:
    """Return the messages of turns that are context.

    Raises:
        DataError: the conversation cannot be followed to its end.
    """
    return [one.message for one in _said(turns, tools)]


def answer_of(turns: Sequence[Turn], tools: Sequence[Tool], where: str, *, is_worse: bool = False) -> Message:
    """Return the one answer that turns are; `is_worse` as `talk_of` has it.

    Raises:
        DataError: they are more or less than one answer, or it cannot be learned; the message begins with `where`.
    """
    said = list(_said(turns, tools, is_worse=is_worse))
    if len(said) != 1:
        raise DataError(f"{where} must hold one answer, not {len(said)} messages")
    if said[0].problem and not is_worse:
        raise DataError(said[0].problem)
    return said[0].message


def _said(turns: Sequence[Turn], tools: Sequence[Tool], *, is_worse: bool = False) -> Iterator[Said]:
    waiting: list[tuple[Any, ToolCall]] = []
    gap = ""
    for role, group in groupby(turns, key=lambda turn: turn.role):
        run = list(group)
        for turn in run:
            if turn.problem:
                raise DataError(turn.problem)
        if role == "assistant":
            if gap:
                raise DataError(gap)
            answer, waiting = _answer(run, tools, is_worse=is_worse)
            yield answer
        elif role == "tool":
            results = _results(run, waiting)
            gap = gap or _gap(waiting, results, run[0].place)
            if not gap:
                yield from (Said(Message("tool", text), is_learned=False) for text in results if text is not None)
            waiting = []
        else:
            gap = gap or _gap(waiting, [None] * len(waiting), run[0].place)
            waiting = []
            yield from (Said(Message(turn.role, turn.text), is_learned=False) for turn in run)


def _answer(run: Sequence[Turn], tools: Sequence[Tool], *, is_worse: bool) -> tuple[Said, list[tuple[Any, ToolCall]]]:
    """Return the answer that neighbouring turns of the assistant are, and its calls with their ids."""
    place = run[0].place
    parts = [thought_and_text(turn.text, turn.place) for turn in run]
    texts = [text for _, text in parts]
    thought = joined(*(turn.thought for turn in run), *(within for within, _ in parts))
    # Some agents log a text, and then the same text with its calls.
    text = texts[0] if len(run) == 1 else "\n".join(dict.fromkeys(text for text in texts if text.strip()))
    calls = [pair for turn in run for pair in zip(turn.ids or [None] * len(turn.calls), turn.calls, strict=True)]
    if len(run) > 1:
        tell(place, "message", (Change("joined", "replace", "", len(run), 1),))
    parsed = read_call_text(text, tools) if text else None
    if parsed and not (is_worse and parsed.message is None):
        if parsed.message is None:
            raise DataError(f"{place}: {parsed.reason} (the text holds a call that was not parsed)")
        own = list(parsed.message.tool_calls)
        if calls and own != [call for _, call in calls]:
            raise DataError(f"{place}: the text holds other calls than those beside it")
        tell(place, "message", (Change("call_read", "replace", "/content", text, parsed.message.content),))
        text, calls = parsed.message.content, calls or [(None, call) for call in own]
    message = Message("assistant", text, tuple(call for _, call in calls), thought)
    problem = next((f"{turn.place}: {said}" for turn in run if (said := unfinished(turn.finish, bool(calls)))), "")
    return Said(message, all(turn.is_learned for turn in run), problem), calls


def _results(run: Sequence[Turn], waiting: Sequence[tuple[Any, ToolCall]]) -> list[str | None]:
    """Return the text of each call's result, None where a call has none.

    Raises:
        DataError: a result answers no call.
    """
    texts: list[str | None] = [None] * len(waiting)
    if len(run) == 1 and len(waiting) > 1 and run[0].result_of is None and (parts := _parts(run[0], len(waiting))):
        return list(parts)
    has_ids = any(call_id is not None for call_id, _ in waiting)
    without_id = list[Turn]()
    for turn in run:
        if turn.result_of is None or (waiting and not has_ids):
            without_id.append(turn)
            continue
        own = [number for number, (call_id, _) in enumerate(waiting) if call_id == turn.result_of]
        number = next((number for number in own if texts[number] is None), None)
        if number is None:
            said = "answers a call that has its result" if own else "answers no call of the message before it"
            raise DataError(f"{turn.place}: 'tool_call_id' {shortened(turn.result_of)} {said}")
        texts[number] = turn.text
    for turn in without_id:
        unanswered = [number for number, text in enumerate(texts) if text is None]
        if not unanswered:
            raise DataError(f"{turn.place}: the result answers no call of the message before it")
        named = [number for number in unanswered if waiting[number][1].name == turn.name]
        texts[(named or unanswered)[0]] = turn.text
    return texts


def _parts(turn: Turn, number: int) -> list[str]:
    """Return the results of several calls that were logged as one JSON list, or nothing."""
    try:
        values = json.loads(turn.text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(values, list) or len(values) != number:
        return []
    return [value if isinstance(value, str) else json_text(value) for value in values]


def _gap(waiting: Sequence[tuple[Any, ToolCall]], results: Sequence[str | None], place: str) -> str:
    """Return what is wrong with a conversation that goes on though a call has no result, or an empty string."""
    for (call_id, call), text in zip(waiting, results, strict=True):
        if text is None:
            named = f" (id {shortened(call_id)})" if call_id is not None else ""
            return f"{place}: the call of {shortened(call.name)}{named} before it has no result"
    return ""


def without_thoughts(text: str, where: str) -> str:
    """Return an assistant's text without its thoughts, as `thought_and_text` does."""
    return thought_and_text(text, where)[1]


def thought_and_text(text: str, where: str) -> tuple[str, str]:
    """Return the thought in an assistant's text, where thoughts are kept, and the text without it.

    What is dropped is told. Some servers keep the end of the thoughts alone, as the prompt holds their beginning.

    Raises:
        DataError: thoughts are begun and do not end, so there is no answer.
    """
    if "think" not in text.lower() and "<thought>" not in text and "<reasoning>" not in text:
        return "", text
    behind = _THOUGHTS.sub("", text)
    kept = _LAST_THOUGHT.sub("", behind)
    if _OPEN_THOUGHT.search(kept):
        raise DataError(f"{where}: its thoughts do not end")
    if kept == text:
        return "", text
    last = _LAST_THOUGHT.match(behind)
    thoughts = [*(match[0] for match in _THOUGHTS.finditer(text)), last[0] if last else ""]
    thought = joined(*(_TAG.sub("", each).strip() for each in thoughts)) if are_kept() else ""
    if not thought:
        tell(where, "message", (Change("text_dropped", "replace", "/content", text, kept),))
    return thought, kept.lstrip()


def with_finish(turns: Sequence[Turn], finish: Any) -> list[Turn]:
    """Return turns of which the last answer ended as the record around it says."""
    last = next((n for n in reversed(range(len(turns))) if turns[n].role == "assistant"), None)
    if not isinstance(finish, str) or last is None or turns[last].finish:
        return list(turns)
    return [*turns[:last], replace(turns[last], finish=finish), *turns[last + 1 :]]


def json_text(value: Any) -> str:
    """Return a value as the JSON text that a tool would have answered with."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
