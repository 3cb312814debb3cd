"""Traces of spans, observations or runs: each question to a model is one answer to learn, and none is learned twice.

A span holds all that stood before its answer, so the span after it holds that answer again, and so does the span of the
agent around them. Each answer is taken from its own span, which says how it ended and what tools were offered. An
answer of a span's history is taken from there only if no span of its own is among the rows. Answers that are met again
are told, and so are spans that ask no model. Spans are kept until all rows are read, as a conversation may go through
many.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from calltune.calling.edits import Change, tell
from calltune.calling.strict_json import shortened
from calltune.data.sources.agentcore import follow
from calltune.data.sources.conversations import Turns, example_of, read_tools
from calltune.data.sources.files import SourceRow
from calltune.data.sources.layouts import is_span_row
from calltune.data.sources.observations import observed
from calltune.data.sources.offers import offered_in_text
from calltune.data.sources.records import conversation_of
from calltune.data.sources.span_records import is_body, is_model, offered_by, record_of
from calltune.data.sources.spans import Span, is_telemetry, joined_spans, spans_of
from calltune.data.sources.turns import Said, talk_of
from calltune.errors import DataError
from calltune.types import Example, Message, Rejected, Tool

_NAME = "openai_traces"


@dataclass(slots=True)
class _Asked:
    """A question to a model: the conversation up to its answer, and a key of each message's place in it."""

    span: Span
    place: str
    said: list[Said] = field(default_factory=list)
    tools: tuple[Tool, ...] = ()
    keys: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def own(self) -> int | None:
        """The place of its own answer among the messages, or None where it has none."""
        is_answered = not self.problem and self.said and self.said[-1].message.role == "assistant"
        return len(self.said) - 1 if is_answered else None


class SpanReader:
    """Takes the rows that are spans out of all rows, and gives their answers when all are read."""

    def __init__(self, offered: Sequence[Tool], turns: Turns) -> None:
        self._offered = tuple(offered)
        self._turns: Turns = turns
        self._spans = list[Span]()
        self._broken = list[Rejected]()

    def others(self, rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
        """Yield the rows that are none of spans."""
        for row in rows:
            if row.problem or not isinstance(row.value, dict) or not is_span_row(row.value):
                yield row
                continue
            try:
                found = spans_of(row.value, row.where) if is_telemetry(row.value) else observed(row.value, row.where)
                if not found:
                    raise DataError(f"{row.where}: it holds no span")
                self._spans += found
            except DataError as error:
                self._broken.append(Rejected(row.where, _NAME, str(error), row.value))

    def nouns(self) -> Iterator[Example | Rejected]:
        """Yield the answers of all spans, each with the id `file:line#number`, and what cannot be used."""
        yield from self._broken
        spans = joined_spans(self._spans)
        by_id = {(span.trace, span.span): span for span in spans if span.span}
        asking = [span for span in spans if is_body(span) or is_model(span)]
        follow([span for span in asking if not is_body(span)])
        asking = _without_bare(asking)
        yield from _without_model(spans, asking)
        yield from _answers([self._asked(span, by_id) for span in asking], self._turns)

    def _asked(self, span: Span, by_id: dict[tuple[str, str], Span]) -> _Asked:
        asked = _Asked(span, f"{span.where}: span {shortened(span.name)}")
        try:
            self._read(asked, by_id)
        except DataError as error:
            said = str(error)
            asked.problem = said if said.startswith(span.where) else f"{asked.place}: {said}"
        return asked

    def _read(self, asked: _Asked, by_id: dict[tuple[str, str], Span]) -> None:
        span = asked.span
        if is_body(span):
            raise DataError("its span is not among the rows, so it may be an agent's; export the spans too")
        record = {key: value for key, value in (record_of(span) or {}).items() if value is not None}
        if not record:
            raise DataError(span.problem or "it holds no messages: the texts of requests were not captured")
        problem = span.problem or ("" if "response" in record else "it holds no answer")
        if problem:
            record.pop("response", None)
        tools = self._tools(asked, by_id)
        turns, own = conversation_of(record, asked.place, tools or self._offered)
        turns, asked.tools = offered_in_text(turns, own)
        talk = talk_of(turns, asked.tools)
        asked.said = list(talk.said)
        asked.keys = list(_keys([one.message for one in asked.said]))
        if problem := problem or talk.problem:
            raise DataError(problem)
        if not asked.said or asked.said[-1].message.role != "assistant":
            raise DataError("it holds no answer")

    def _tools(self, asked: _Asked, by_id: dict[tuple[str, str], Span]) -> tuple[Tool, ...]:
        """Return the tools that a span or one around it names; agents name them once, for all of their questions."""
        span: Span | None = asked.span
        for _ in range(64):
            if span is None:
                break
            if tools := read_tools(offered_by(span), f"{asked.place}: tools"):
                return tools
            span = by_id.get((span.trace, span.parent)) if span.parent else None
        return ()


def _response_id(span: Span) -> str:
    value = span.attributes.get("gen_ai.response.id")
    return value if isinstance(value, str) else ""


def _without_bare(asking: Sequence[Span]) -> list[Span]:
    """Return spans without those that have no texts where another one has those of the same response."""
    numbers = Counter(_response_id(span) for span in asking)
    twice = [span for span in asking if _response_id(span) and numbers[_response_id(span)] > 1]
    recorded = {_response_id(span) for span in twice if _is_recorded(span)}
    bare = {id(span) for span in twice if _response_id(span) in recorded and not _is_recorded(span)}
    return [span for span in asking if id(span) not in bare]


def _is_recorded(span: Span) -> bool:
    try:
        return record_of(span) is not None
    except DataError:
        return True


def _without_model(spans: Sequence[Span], asking: Sequence[Span]) -> Iterator[Rejected]:
    """Tell of the spans that ask no model; where none does, yield the first of each trace as what cannot be used."""
    read, traces = {id(span) for span in asking}, set[str]()
    for span in spans:
        if id(span) in read:
            continue
        if asking or (span.trace and span.trace in traces):
            tell(span.where, "span", (Change("span_unread", "remove", ""),))
            continue
        traces.add(span.trace)
        reason = f"{span.where}: span {shortened(span.name)}: no span of its trace is a question to a model"
        yield Rejected(f"{span.where}#1", _NAME, reason, span.raw)


def _answers(questions: Sequence[_Asked], turns: Turns) -> Iterator[Example | Rejected]:
    owners, held, numbers = dict[str, int](), set[str](), Counter[str]()
    for number, asked in enumerate(questions):
        if asked.own is not None:
            owners.setdefault(asked.keys[asked.own], number)
        held.update(asked.keys[: asked.own])
    for number, asked in enumerate(questions):
        where = asked.span.where
        for place, one in enumerate(asked.said):
            if one.message.role != "assistant" or not one.is_learned:
                continue
            key, is_own = asked.keys[place], place == asked.own
            if turns == "last" and (not is_own or key in held):
                continue
            if owners.setdefault(key, number) != number:
                tell(where, "span", (Change("repeated", "remove", ""),))
                continue
            numbers[where] += 1
            yield _noun(asked, place, f"{where}#{numbers[where]}")
        if asked.problem:
            numbers[where] += 1
            yield Rejected(f"{where}#{numbers[where]}", _NAME, asked.problem, asked.span.raw)


def _noun(asked: _Asked, place: int, row_id: str) -> Example | Rejected:
    one = asked.said[place]
    before = [each.message for each in asked.said[:place]]
    try:
        if one.problem:
            raise DataError(one.problem)
        return example_of(_NAME, row_id, asked.place, before, one.message, asked.tools)
    except DataError as error:
        return Rejected(row_id, _NAME, str(error), asked.span.raw)


def _keys(messages: Sequence[Message]) -> Iterator[str]:
    """Yield a key of each message with all before it; the system's text, which may tell the time, is no part of it."""
    digest = hashlib.blake2b(digest_size=16)
    for message in messages:
        if message.role != "system":
            calls = [[call.name, call.arguments] for call in message.tool_calls]
            said = [message.role, message.content.strip(), calls]
            digest.update(json.dumps(said, sort_keys=True, allow_nan=False).encode() + b"\0")
        yield digest.copy().hexdigest()
