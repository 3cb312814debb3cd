"""Rows of a source without their personal details: a conversation at a time, and nothing of it is given on before.

What a row's reader edited and what it says of a row that it cannot read pass through here as well.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from calltune.calling.edits import Change, Listener
from calltune.calling.schema import call_problems
from calltune.config.redact import RedactConfig
from calltune.data.redact.conversation import Conversation, decoded
from calltune.data.redact.finder import Finder
from calltune.data.redact.stand_ins import StandIns
from calltune.data.rows import training_row
from calltune.data.text import digest
from calltune.errors import ConfigError, DataError
from calltune.files.hashes import value_sha256
from calltune.types import Example, Message, Preference, Rejected, Tool, ToolCall

Noun = Example | Preference | Rejected
_Heard = tuple[str, str, tuple[Change, ...]]

_NUM_ATTEMPTS = 8
"""How many stand-ins of each value are tried where a call no longer fits its tool."""

_EXAMPLES = ("default", "example", "examples")
"""The keywords of a tool's schema that hold values of somebody; all others are the tool's own words."""

_MOST_ROWS = 256
"""The most rows that are held as those of one conversation."""


class Redaction:
    """`[data.redact]` at work on all rows of a run."""

    def __init__(self, settings: RedactConfig, seed: int) -> None:
        """Load what finds details.

        Raises:
            ConfigError: Presidio is not installed, a kind is unknown, or the key's variable is not set.
        """
        key = os.environ.get(settings.key_env, "") if settings.key_env else f"seed {seed}"
        if not key:
            raise ConfigError(f"data.redact.key_env: the environment variable '{settings.key_env}' is not set")
        self._finder = Finder(settings)
        self._stand_ins = StandIns(key.encode(), self._finder)
        self._waiting: list[_Heard] = []
        self._values: dict[str, set[bytes]] = defaultdict(set)
        self._conversations: dict[str, int] = defaultdict(int)

    def hear(self, where: str, what: str, changes: tuple[Change, ...]) -> None:
        """Keep a row's edits back until its details are known; this is a listener of `changes_told_to`."""
        self._waiting.append((where, what, changes))

    def told(self) -> dict[str, dict[str, int]]:
        """Return for each kind how many values were replaced, in how many conversations."""
        return {
            kind: {"values": len(values), "conversations": self._conversations[kind]}
            for kind, values in sorted(self._values.items())
        }

    def notes(self) -> list[str]:
        """Return what was replaced, as one line."""
        counts = [f"{kind} {n['values']:,} in {n['conversations']:,}" for kind, n in self.told().items()]
        told = f"values in conversations: {', '.join(counts)}" if counts else "none was found"
        return [f"personal details were replaced by stand-ins ({told})"]

    def text(self, text: str) -> str:
        """Return a text that belongs to no conversation, with stand-ins."""
        return self._begun().text(text)

    def value(self, value: Any) -> Any:
        """Return a JSON value that belongs to no conversation, with stand-ins."""
        alone = self._begun()
        alone.hear(value)
        return alone.value(value)

    def rows(self, nouns: Iterable[Noun], listener: Listener, path: str = "") -> Iterator[Noun]:
        """Yield each row with stand-ins, and tell the listener of its edits; the order stays.

        Args:
            path: that of the source's files, whose names are no details.

        Raises:
            DataError: as the source raises it, without details.
        """
        group: list[Noun] = []
        heard: list[_Heard] = []
        iterator = iter(nouns)
        while True:
            try:
                noun = next(iterator, None)
            except DataError as error:
                raise DataError(self._begun(path).reason(str(error))) from None
            if group and (
                noun is None or len(group) == _MOST_ROWS or _conversation_id(noun) != _conversation_id(group[0])
            ):
                yield from self._without_details(group, heard, listener, path)
                group, heard = [], []
            heard, self._waiting = [*heard, *self._waiting], []
            if noun is None:
                yield from self._without_details(group, heard, listener, path)
                return
            group.append(noun)

    def _begun(self, path: str = "") -> Conversation:
        return Conversation(self._finder, self._stand_ins, path)

    def _without_details(self, group: list[Noun], heard: list[_Heard], listener: Listener, path: str) -> list[Noun]:
        """Return the rows of one conversation, whose edits were `heard`."""
        known = self._begun(path)
        rows = [noun if (problem := _hear(noun, known)) is None else problem for noun in group]
        for where, what, changes in heard:
            known.hear([where, what, *([change.before, change.after] for change in changes)])
        new = self._fitting(rows, known)
        for where, what, changes in heard:
            edits = tuple(
                Change(c.kind, c.op, known.text(c.path), known.value(c.before), known.value(c.after)) for c in changes
            )
            listener(known.placed(where), known.text(what), edits)
        for kind in {kind for kind, _ in known.values.values()}:
            self._conversations[kind] += 1
        for canonical, (kind, _) in known.values.items():
            self._values[kind].add(digest(canonical))
        return new

    def _fitting(self, rows: list[Noun], known: Conversation) -> list[Noun]:
        """Return the rows with such stand-ins that calls fit their tools as before; a row is rejected if none do."""
        new = [_rewritten(row, known) for row in rows]
        problems: dict[int, tuple[str, set[str]]] = {}
        for _ in range(_NUM_ATTEMPTS):
            problems = {
                number: problem
                for number, (old, row) in enumerate(zip(rows, new, strict=True))
                if (problem := self._misfit(old, row))
            }
            if not problems:
                return new
            for canonical in {canonical for _, values in problems.values() for canonical in values}:
                known.attempts[canonical] = known.attempts.get(canonical, 0) + 1
            known.forget_texts()
            new = [_rewritten(row, known) for row in rows]
        for number, row in enumerate(rows):
            if not isinstance(row, Rejected) and (problem := self._misfit(row, new[number])):
                # Its tools go through as well: they may hold the value that their schema insists on.
                whole = known.value(training_row(row))
                new[number] = Rejected(new[number].id, row.source, f"{new[number].id}: {problem[0]}", whole)
        return new

    def _misfit(self, old: Noun, new: Noun) -> tuple[str, set[str]] | None:
        """Return why a row's call no longer fits its tool, and the values that are in the call; None if all fit."""
        if isinstance(old, Rejected) or isinstance(new, Rejected):
            return None
        for before, after in zip(_calls(old), _calls(new), strict=True):
            if before == after or call_problems(before, old.tools):
                continue
            if found := call_problems(after, new.tools):
                inside = self._begun()
                inside.hear(dict(before.arguments))
                kinds = ", ".join(sorted({kind for kind, _ in inside.values.values()})) or "personal detail"
                name = found[0].argument.partition(".")[0]
                place = f" at '{name}'" if name in after.arguments else ""
                return f"no stand-in for its {kinds} fits the schema of '{after.name}'{place}", set(inside.values)
        return None


def _hear(noun: Noun, known: Conversation) -> Rejected | None:
    """Find a row's details; a row that is nested too deeply for that is returned as rejected, without its values."""
    try:
        if isinstance(noun, Rejected):
            known.hear(decoded(noun.row) if isinstance(noun.row, str) else noun.row)
            known.hear(noun.reason)
            return None
        after = noun.after if isinstance(noun, Example) else ()
        for message in (*noun.prompt, *noun.answers, *after):
            known.hear(message.content)
            known.hear(message.thought)
            for call in message.tool_calls:
                known.hear(dict(call.arguments))
        for tool in noun.tools:
            for value in _examples(tool.parameters):
                known.hear(value)
    except RecursionError:
        return Rejected(known.placed(noun.id), noun.source, "holds values nested too deeply", None)
    return None


def _rewritten(noun: Noun, known: Conversation) -> Noun:
    row_id = known.placed(noun.id)
    if isinstance(noun, Rejected):
        return Rejected(row_id, noun.source, known.reason(noun.reason), known.raw(noun.row))
    tools = tuple(_tool(tool, known) for tool in noun.tools)
    parent = known.placed(noun.parent)
    if isinstance(noun, Example):
        messages = tuple(_message(message, known) for message in noun.messages)
        # It is not written, but the doctor's reasons quote it.
        after = tuple(_message(message, known) for message in noun.after)
        return replace(noun, id=row_id, parent=parent, tools=tools, messages=messages, after=after)
    prompt = tuple(_message(message, known) for message in noun.prompt)
    chosen, rejected = _message(noun.chosen, known), _message(noun.rejected, known)
    return replace(noun, id=row_id, parent=parent, tools=tools, prompt=prompt, chosen=chosen, rejected=rejected)


def _message(message: Message, known: Conversation) -> Message:
    calls = tuple(ToolCall(call.name, known.value(dict(call.arguments))) for call in message.tool_calls)
    return Message(message.role, known.text(message.content), calls, known.text(message.thought))


def _tool(tool: Tool, known: Conversation) -> Tool:
    if next(_examples(tool.parameters), None) is None:
        return tool
    return replace(tool, parameters=_schema(tool.parameters, known))


def _schema(schema: Any, known: Conversation) -> Any:
    """Return a schema whose examples and defaults have stand-ins; a parameter may have one of these names, too."""
    if isinstance(schema, Mapping):
        return {
            key: known.value(inner) if _is_example(key, inner) else _schema(inner, known)
            for key, inner in schema.items()
        }
    return [_schema(inner, known) for inner in schema] if isinstance(schema, list) else schema


def _examples(schema: Any) -> Iterator[Any]:
    if isinstance(schema, Mapping):
        for key, inner in schema.items():
            if _is_example(key, inner):
                yield inner
            else:
                yield from _examples(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _examples(inner)


def _is_example(key: str, value: Any) -> bool:
    """Return whether a keyword holds examples, and is no parameter of that name with a schema of its own."""
    return key in _EXAMPLES and not (isinstance(value, Mapping) and ("type" in value or "$ref" in value))


def _calls(row: Example | Preference) -> list[ToolCall]:
    return [call for message in (*row.prompt, *row.answers) for call in message.tool_calls]


def _is_other(noun: Noun, group: list[Noun]) -> bool:
    return len(group) == _MOST_ROWS or _conversation_id(noun) != _conversation_id(group[0])


def _conversation_id(noun: Noun) -> str | int:
    """Return what all answers of a conversation share: their place without its `#number`; of other rows, themselves."""
    return noun.id.rpartition("#")[0] or id(noun)


def redaction_sha256(settings: RedactConfig) -> str:
    """Return what changes when the same rows may get other stand-ins: the key, and the packages that find details."""
    packages = [f"{name} {version(name)}" for name in ("presidio-analyzer", "phonenumbers")]
    key = os.environ.get(settings.key_env, "") if settings.key_env else ""
    return value_sha256([hashlib.blake2b(key.encode(), person=b"redact key").hexdigest(), packages])
