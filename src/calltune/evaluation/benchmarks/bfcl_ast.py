"""Are these calls the expected ones? BFCL's comparison of parsed calls with accepted values, and what is wrong if not.

The verdicts are those of `ast_checker.py` of bfcl-eval 2026.3.23 (Apache-2.0): names and argument names must be equal,
texts are compared without case, spaces and some punctuation, types strictly (an integer may stand for a float, but not
inside a list), several calls in any order. The classes of error are our own.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from calltune.evaluation.benchmarks.bfcl_literals import read_java, read_javascript
from calltune.types import ToolCall

Language = Literal["python", "java", "javascript"]
ErrorClass = Literal[
    "wrong_tool",
    "invented_tool",
    "missing_argument",
    "extra_argument",
    "wrong_value",
    "wrong_type",
    "wrong_count",
    "needless_call",
    "missed_call",
    "malformed",
]

KINDS: Mapping[Language, Mapping[str, type]] = {
    "python": {
        "string": str,
        "any": str,
        "integer": int,
        "float": float,
        "boolean": bool,
        "array": list,
        "tuple": list,
        "dict": dict,
    },
    "java": {
        "String": str,
        "char": str,
        "any": str,
        "byte": int,
        "short": int,
        "integer": int,
        "long": int,
        "float": float,
        "double": float,
        "boolean": bool,
        "Array": list,
        "ArrayList": list,
        "HashMap": dict,
    },
    "javascript": {
        "String": str,
        "any": str,
        "integer": int,
        "Bigint": int,
        "float": float,
        "Boolean": bool,
        "array": list,
        "dict": dict,
    },
}
"""The types that BFCL's tools give to arguments, and the Python type of their values, by language."""

OPTIONAL = ""
"""Among the accepted values, this one says that the argument may be left out."""

_READERS: Mapping[Language, Callable[[str, str, str | None], Any]] = {"java": read_java, "javascript": read_javascript}
_SIZED = (list, str, dict)
_IGNORED = str.maketrans(dict.fromkeys(" ,./-_*^") | {"'": '"'})


@dataclass(frozen=True, slots=True)
class ExpectedArgument:
    """What may be given for an argument; `type` None: accepted, though the tool has no such argument."""

    accepted: Sequence[Any]
    type: str | None
    items: str | None


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """A call that the answer must hold."""

    name: str
    required: Collection[str]
    arguments: Mapping[str, ExpectedArgument]


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why an answer is not right."""

    error_class: ErrorClass
    reason: str


def find_mistake(
    expected: Sequence[ExpectedCall], calls: Sequence[ToolCall], language: Language, offered: Collection[str]
) -> Mistake | None:
    """What is wrong with the calls of an answer, or None if they are the expected ones.

    Several expected calls are looked for one after the other, each among the calls that are still free, and the first
    that fits is taken; so BFCL does, and where accepted values overlap, the order can matter.

    Args:
        offered: the names of all tools that the model could call; they tell a wrong tool from an invented one.
    """
    if not calls:
        return Mistake("missed_call", f"no call, {len(expected)} expected")
    if len(calls) != len(expected):
        invented = next((call.name for call in calls if call.name not in offered), None)
        reason = f"{len(calls)} calls, {len(expected)} expected"
        return Mistake("wrong_count", reason + (f"; there is no tool '{invented}'" if invented else ""))
    free, unmet = list(calls), []
    for one in expected:
        fitting = next((call for call in free if _call_mistake(one, call, language, offered) is None), None)
        if fitting is None:
            unmet.append(one)
        else:
            free = [call for call in free if call is not fitting]
    if not unmet:
        return None
    # The call that was most likely meant is one of the same tool; False sorts before True.
    meant = min(free, key=lambda call: call.name != unmet[0].name)
    return _call_mistake(unmet[0], meant, language, offered)


def _call_mistake(one: ExpectedCall, call: ToolCall, language: Language, offered: Collection[str]) -> Mistake | None:
    if call.name != one.name:
        if call.name in offered:
            return Mistake("wrong_tool", f"'{call.name}' was called, '{one.name}' expected")
        return Mistake("invented_tool", f"there is no tool '{call.name}', '{one.name}' was expected")
    for name in one.required:
        if name not in call.arguments:
            return Mistake("missing_argument", f"'{one.name}' needs '{name}'")
    for name, value in call.arguments.items():
        argument = one.arguments.get(name)
        if argument is None or argument.type is None:
            return Mistake("extra_argument", f"'{one.name}' was given '{name}', which is not expected")
        wrong = _value_mistake(value, argument, language)
        if wrong:
            place = f"'{name}' of '{one.name}' is {_shown(value)}"
            accepted = ", ".join(_shown(item) for item in argument.accepted if item != OPTIONAL)
            expects = f"not of type {argument.type}" if wrong == "wrong_type" else "not accepted"
            return Mistake(wrong, f"{place}, {expects}; expected {accepted or 'nothing'}")
    for name, argument in one.arguments.items():
        if name not in call.arguments and OPTIONAL not in argument.accepted:
            return Mistake("missing_argument", f"'{one.name}' was expected with '{name}'")
    return None


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _value_mistake(
    value: Any, argument: ExpectedArgument, language: Language
) -> Literal["wrong_type", "wrong_value"] | None:
    kinds = KINDS[language]
    assert argument.type is not None
    kind = kinds[argument.type]
    items = kinds[argument.items] if kind is list and argument.items is not None else None
    if language in _READERS:
        if type(value) is not str:
            return "wrong_type"
        value = _READERS[language](value, argument.type, argument.items)
    elif kind is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            return "wrong_value"
    reading = _reading(value, argument.accepted, kind, items)
    if reading is None:
        return "wrong_type"
    fits = value in argument.accepted if reading == "as_it_stands" else _is_accepted(value, argument.accepted, items)
    return None if fits else "wrong_value"


def _reading(
    value: Any, accepted: Sequence[Any], kind: type, items: type | None
) -> Literal["by_type", "as_it_stands"] | None:
    """How a value is to be compared; None: its type is wrong.

    Where the accepted values are of another type than the tool says, they are taken for names of variables: a value
    must then be equal to one of them as it stands, and may be of their type.
    """
    meant = _first_type(accepted)
    other = meant is not None and meant is not kind
    if type(value) is kind:
        if items is not None and not any(_items_fit(value, option, items) for option in accepted):
            return None
        return "as_it_stands" if other else "by_type"
    return "as_it_stands" if meant is not None and type(value) is meant else None


def _first_type(values: Iterable[Any]) -> type | None:
    return next((type(value) for value in values if value != OPTIONAL), None)


def _items_fit(value: list[Any], option: Any, items: type) -> bool:
    # An option that is no list, as the mark of an optional argument, lets all elements pass.
    return type(option) is not list or all(type(item) in (items, _first_type(option)) for item in value)


def _is_accepted(value: Any, accepted: Sequence[Any], items: type | None) -> bool:
    if type(value) is dict:
        return any(_object_fits(value, option) for option in accepted if type(option) is dict)
    if type(value) is list and items is dict:
        return any(_objects_fit(value, option) for option in accepted)
    if type(value) is list:
        # A text counts as the list of its letters: the mark of an optional argument accepts an empty list.
        plain = [_plain(item) for item in value]
        return any(plain == [_plain(item) for item in option] for option in accepted if type(option) in _SIZED)
    if type(value) is str:
        return any(_plain(value) == _plain(option) for option in accepted if type(option) is str)
    return value in accepted


def _plain(value: Any) -> Any:
    """A text without case, spaces and punctuation of little meaning; anything else unchanged."""
    return value.translate(_IGNORED).lower() if type(value) is str else value


def _objects_fit(value: list[Any], option: Any) -> bool:
    if type(option) not in _SIZED or len(value) != len(option):
        return False
    return all(
        type(item) is dict and type(one) is dict and _object_fits(item, one)
        for item, one in zip(value, option, strict=True)
    )


def _object_fits(value: Mapping[str, Any], option: Mapping[str, Any]) -> bool:
    """Whether every entry has an accepted value, and those left out are optional.

    The accepted values of an entry can be a text where the data has no list: then each of its letters is accepted.
    """
    for key, item in value.items():
        alternatives = option.get(key)
        if not isinstance(alternatives, list | str) or _plain(item) not in map(_plain, alternatives):
            return False
    return all(key in value or (isinstance(one, list | str) and OPTIONAL in one) for key, one in option.items())
