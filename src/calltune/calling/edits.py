"""Edits of rows and tool schemas that are logged, counted, and can be undone.

| kind               | what was done                                                                             |
|--------------------|-------------------------------------------------------------------------------------------|
| `type_name`        | a type's name (`str`, `List[int]`, `dict`) was put into JSON Schema's words               |
| `type_dropped`     | a type that says nothing (`any`, `callable`) was dropped: everything is accepted          |
| `optional`         | a parameter whose type says "optional" left `required`                                    |
| `required_moved`   | `required` beside `parameters`, or true inside a parameter, went where it belongs         |
| `required_dropped` | `required` named a parameter that is not there, or was no list                            |
| `default_typed`    | a default written as text took its parameter's type                                       |
| `default_dropped`  | a default "None" of a parameter that is no text was dropped                               |
| `enum_typed`       | the values of an `enum` took the type beside it, or the type that of the values           |
| `null_dropped`     | a key that holds null was dropped (Arrow pads schemas with nulls of other tools' keys)    |
| `key_dropped`      | a key that JSON Schema or a tool does not have was dropped                                |
| `schema_moved`     | parameters under another key (`inputSchema`), or as JSON text, went to `parameters`       |
| `schema_dropped`   | a schema beside the parameters, such as that of a result, was dropped                     |
| `keyword`          | a rule's name or number took JSON Schema's form (`any_of`, `"maxItems": "3"`)             |
| `not_judged`       | nothing was edited: a pattern that Python cannot read stays, and judges no call           |
| `shorthand`        | a schema written as a type's name alone, or a list of schemas under `items`, was unfolded |
| `wrapped`          | properties written alone got the object around them                                       |
| `filled_in`        | what is usually left out (`type`, `properties`, `required`, `description`) was written    |
| `null_argument`    | a call's argument that is null only because Arrow padded it was dropped                   |
| `text_dropped`     | text that a training row cannot hold (thoughts, a tool preamble) was dropped              |
| `joined`           | neighbouring messages of the assistant became one answer                                  |
| `call_read`        | a call that was left in an answer's text became a call                                    |
| `key_unread`       | a key of a row that holds text or a schema is not read; what it holds is not kept here    |
| `file_unread`      | a file of a folder was passed over                                                        |
| `span_unread`      | a span of a trace that asks no model (a tool's, an agent's) is not read                   |
| `repeated`         | an answer that a span of its own records was met again in another one, and is taken once  |
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

ChangeKind = Literal[
    "type_name",
    "type_dropped",
    "optional",
    "required_moved",
    "required_dropped",
    "default_typed",
    "default_dropped",
    "enum_typed",
    "null_dropped",
    "key_dropped",
    "schema_moved",
    "schema_dropped",
    "keyword",
    "not_judged",
    "shorthand",
    "wrapped",
    "filled_in",
    "null_argument",
    "text_dropped",
    "joined",
    "call_read",
    "key_unread",
    "file_unread",
    "span_unread",
    "repeated",
]
CHANGE_KINDS: tuple[str, ...] = get_args(ChangeKind)


@dataclass(frozen=True, slots=True)
class Change:
    """One edit of a document.

    `path` is a JSON pointer. `before` means nothing when `op` is add, and `after` means nothing when it is remove.
    """

    kind: str
    op: Literal["add", "remove", "replace"]
    path: str
    before: Any = None
    after: Any = None


@dataclass(slots=True)
class Edits:
    """Edits a document in place, and remembers how to undo it.

    `is_padded` says that Arrow has put nulls into the document, so that a null says nothing of what its author wrote.
    """

    changes: list[Change] = field(default_factory=list)
    is_padded: bool = False

    def put(self, kind: ChangeKind, place: Any, path: tuple[Any, ...], key: Any, value: Any) -> None:
        """Set `place[key]`, an element of a list or a value of an object, and log the change."""
        there = isinstance(place, list) or key in place
        before = copy.deepcopy(place[key]) if there else None
        op = "replace" if there else "add"
        self.changes.append(Change(kind, op, pointer((*path, key)), before, copy.deepcopy(value)))
        place[key] = value

    def drop(self, kind: ChangeKind, place: dict[str, Any], path: tuple[Any, ...], key: str) -> None:
        """Remove `place[key]`, and log the change."""
        self.changes.append(Change(kind, "remove", pointer((*path, key)), place.pop(key)))


def pointer(path: Iterable[Any]) -> str:
    """Return a path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def undo(document: Any, changes: Iterable[Change]) -> Any:
    """Return a copy of the document as it was before the changes."""
    document = copy.deepcopy(document)
    for change in reversed(list(changes)):
        *parents, key = (part.replace("~1", "/").replace("~0", "~") for part in change.path.split("/")[1:])
        place = document
        for part in parents:
            place = place[int(part) if isinstance(place, list) else part]
        if change.op == "add":
            del place[key]
        else:
            place[int(key) if isinstance(place, list) else key] = copy.deepcopy(change.before)
    return document


Listener = Callable[[str, str, tuple[Change, ...]], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def changes_told_to(listener: Listener) -> Iterator[None]:
    """Tell each normalised tool and repaired message to `listener(where, what, changes)` while the block runs.

    A source yields rows and nothing else. What it changed on the way is heard here, so a source of the user's own is
    heard too.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(where: str, what: str, changes: tuple[Change, ...]) -> None:
    """Tell the listener, if there is one, of changes at a place; `what` is a tool's name or a part of the row."""
    listener = _listener.get()
    if listener and changes:
        listener(where, what, changes)
