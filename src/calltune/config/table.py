"""Tables of a run file. A pydantic model checks each, and every mistake is one line that names the nearest key."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

import pydantic

from calltune.config.secrets import refuse_secrets
from calltune.errors import ConfigError


class Table(pydantic.BaseModel):
    """A table of the run file. Unknown keys are errors, and values do not change."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


_LONGEST_VALUE = 200
_MOST_KEYS = 24  # of those that a line about an unknown key names; a run file has fewer tables

_Model = TypeVar("_Model", bound=pydantic.BaseModel)


def parse_options(model: type[_Model], table: Mapping[str, Any], where: str) -> _Model:
    """Check a table against its pydantic model, and return the model.

    Args:
        where: what stands before the key in the message, such as the run file's name.

    Raises:
        ConfigError: a key or value is wrong, or a secret; the line names `where` and the key, and the nearest key to an
            unknown one.
    """
    refuse_secrets(table, where)
    try:
        return model.model_validate(table)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(model, error)}") from None


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the message for a key that does not exist, with the nearest one that does."""
    known = sorted(known)
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], known, n=1, cutoff=0.5)
    if near:
        return f"unknown key '{key}', did you mean '{near[0]}'?"
    more = len(known) - _MOST_KEYS
    rest = f", and {more} more" if more > 0 else ""
    return f"unknown key '{key}' (there are: {', '.join(known[:_MOST_KEYS]) or 'none'}{rest})"


def _first_problem(model: type[pydantic.BaseModel], error: pydantic.ValidationError) -> str:
    problems = error.errors()
    # An unknown key is often the cause of a missing one, so it is told first.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        text = unknown_key(key, _fields_at(model, problem["loc"][:-1]))
    elif problem["type"] == "missing":
        text = f"'{key}' is missing"
    elif not key:
        text = problem["msg"].removeprefix("Value error, ")
    else:
        # A list of a run file is a tuple in its class, which is no word of TOML's.
        reason = problem["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
        text = f"'{key}': {reason[0].lower()}{reason[1:]}{_given(problem['input'])}"
    more = len(problems) - 1
    return text + (f" (and {more} more)" if more else "")


def _given(value: Any) -> str:
    """What was given instead. A table is not shown: more stands in it than what is wrong."""
    if isinstance(value, Mapping | list | tuple):
        return ""
    text = repr(value)
    return f", not {text}" if len(text) <= _LONGEST_VALUE else f", not {text[:_LONGEST_VALUE]}..."


def _fields_at(model: type[pydantic.BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        # A table that may be absent is `Table | None`.
        for kind in (annotation, *get_args(annotation)):
            if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
                model = kind
    return list(model.model_fields)
