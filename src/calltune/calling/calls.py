"""Calls in text: how models write them, and how they are read. What a format's parser cannot read is malformed.

| format      | written as                                                             | known from                  |
|-------------|------------------------------------------------------------------------|-----------------------------|
| hermes      | `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, repeated   | Hermes 2, Qwen 2.5, Qwen 3  |
| json        | `{"name": ..., "parameters": {...}}` as the whole answer, `;` between  | Llama 3.1, Llama 3.2        |
| pythonic    | `[name(key="value"), ...]` as the whole answer                         | Llama 3.2, Llama 4          |
| list        | `[{"name": ..., "arguments": {...}}, ...]` as the whole answer         | xLAM 2, Mistral             |
| functionary | `<function=name>{...}</function>`, repeated                            | functionary 3.1             |

The format that a model uses is read off its own template, never off its name.
"""

import ast
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from calltune.calling.strict_json import check_value, shortened
from calltune.errors import DataError
from calltune.types import Message, ToolCall

CallFormat = Literal["hermes", "json", "pythonic", "list", "functionary"]

_FUNCTION = re.compile(r"<function=([^>\s]+)>")
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)

NOTHING_SAID = "the answer has neither text nor calls"
"""Why such an answer is malformed, whoever gave it."""


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What a parser read: a message, or None when a call was begun and cannot be read.

    `reason` then says where and why.
    """

    message: Message | None
    reason: str = ""


def detect_format(written: str) -> CallFormat | None:
    """Return the format in which a template wrote a call, or None if it is not one of ours."""
    if "<tool_call>" in written and "</tool_call>" in written:
        return "hermes"
    formats: tuple[CallFormat, ...] = ("functionary", "json", "list", "pythonic")
    for name in formats:
        parsed = _PARSERS[name](written)
        if parsed.message and parsed.message.tool_calls:
            return name
    return None


def parse_answer(text: str, call_format: CallFormat) -> ParsedAnswer:
    """Read an answer that is written in a format.

    The reading is strict: a call that is opened and does not close, is not JSON, or has no name or no object of
    arguments is malformed.
    """
    return _PARSERS[call_format](text)


def says_nothing(message: Message) -> bool:
    """Return whether an answer has neither text nor calls; a thought in `<think>` tags is no text."""
    return not message.tool_calls and not _THOUGHT.sub("", message.content).strip()


def make_call(name: Any, arguments: Any) -> ToolCall | str:
    """Return the call that a model wrote, or what is wrong with it.

    The arguments become what a file of JSON would give back: a tuple becomes a list, and a number that is a key becomes
    its text. So a completion is scored alike before and after it was read from a file. What a file cannot hold, and
    NaN, is no argument.
    """
    if not isinstance(name, str):
        return "has no name"
    if not isinstance(arguments, dict):
        return "has no object of arguments"
    try:
        kept = json.loads(json.dumps(arguments, allow_nan=False))
        check_value([name, kept], "is out of bounds")
    except (TypeError, ValueError):
        return "holds a value that JSON does not have"
    except RecursionError:
        return "is nested too deeply"
    except DataError as error:
        return str(error)
    return ToolCall(name, kept)


def _hermes(text: str) -> ParsedAnswer:
    opened, closed = "<tool_call>", "</tool_call>"
    calls: list[ToolCall] = []
    words: list[str] = []
    place = 0
    while (start := text.find(opened, place)) >= 0:
        words.append(text[place:start])
        end = text.find(closed, start)
        if end < 0:
            return ParsedAnswer(None, f"a call opened at character {start} is not closed")
        call = _json_call(text[start + len(opened) : end])
        if isinstance(call, str):
            return ParsedAnswer(None, f"the call at character {start} {call}")
        calls.append(call)
        place = end + len(closed)
    words.append(text[place:])
    if closed in "".join(words):
        return ParsedAnswer(None, "a call is closed that was never opened")
    return ParsedAnswer(Message("assistant", "".join(words).strip(), tuple(calls)))


def _functionary(text: str) -> ParsedAnswer:
    calls: list[ToolCall] = []
    words: list[str] = []
    place = 0
    while match := _FUNCTION.search(text, place):
        words.append(text[place : match.start()])
        end = text.find("</function>", match.end())
        if end < 0:
            return ParsedAnswer(None, f"a call opened at character {match.start()} is not closed")
        call = make_call(match[1], _json(text[match.end() : end]))
        if isinstance(call, str):
            return ParsedAnswer(None, f"the call at character {match.start()} {call}")
        calls.append(call)
        place = end + len("</function>")
    words.append(text[place:])
    if "<function=" in "".join(words) or "</function>" in "".join(words):
        return ParsedAnswer(None, "a call is opened or closed alone")
    return ParsedAnswer(Message("assistant", "".join(words).strip(), tuple(calls)))


def _bare_json(text: str) -> ParsedAnswer:
    stripped = text.strip().removeprefix("<|python_tag|>").strip()
    if not stripped.startswith("{"):
        return ParsedAnswer(Message("assistant", text.strip()))
    calls: list[ToolCall] = []
    decoder, place = json.JSONDecoder(), 0
    while place < len(stripped):
        try:
            value, end = decoder.raw_decode(stripped, place)
        except (ValueError, RecursionError):
            return ParsedAnswer(None, f"the call at character {place} is not JSON")
        call = _call(value)
        if isinstance(call, str):
            return ParsedAnswer(None, f"the call at character {place} {call}")
        calls.append(call)
        rest = stripped[end:].lstrip()
        if rest and not rest.startswith(";"):
            return ParsedAnswer(None, f"there is text after the call, at character {end}")
        place = len(stripped) - len(rest.removeprefix(";").lstrip())
    return ParsedAnswer(Message("assistant", "", tuple(calls)))


def _json_list(text: str) -> ParsedAnswer:
    stripped = text.strip().removeprefix("[TOOL_CALLS]").strip()
    if not stripped.startswith("["):
        return ParsedAnswer(Message("assistant", text.strip()))
    values = _json(stripped)
    if not isinstance(values, list):
        return ParsedAnswer(None, "the answer begins as a list of calls and is not JSON")
    calls = [_call(value) for value in values]
    wrong = next((f"call {number} {call}" for number, call in enumerate(calls) if isinstance(call, str)), None)
    if wrong:
        return ParsedAnswer(None, wrong)
    return ParsedAnswer(Message("assistant", "", tuple(call for call in calls if isinstance(call, ToolCall))))


def _pythonic(text: str) -> ParsedAnswer:
    stripped = text.strip().removeprefix("<|python_start|>").removesuffix("<|python_end|>").strip()
    if not stripped.startswith("["):
        return ParsedAnswer(Message("assistant", text.strip()))
    try:
        with warnings.catch_warnings():
            # Python warns of escapes such as "\d", but it is the model that wrote them.
            warnings.simplefilter("ignore")
            tree = ast.parse(stripped, mode="eval").body
        if not isinstance(tree, ast.List):
            raise _Unreadable("is no list")
        calls = tuple(_python_call(node) for node in tree.elts)
    except (RecursionError, MemoryError):
        return ParsedAnswer(None, "the answer begins as a list of calls and is nested too deeply")
    except SyntaxError as error:
        place = f" at character {error.offset - 1}" if error.lineno == 1 and error.offset else ""
        return ParsedAnswer(None, f"the answer begins as a list of calls and is not written as Python{place}")
    except ValueError as error:
        reason = str(error) if isinstance(error, _Unreadable) else "is not written as Python"
        return ParsedAnswer(None, f"the answer begins as a list of calls and {reason}")
    return ParsedAnswer(Message("assistant", "", calls))


class _Unreadable(ValueError):
    """What is wrong with an answer in Python's words, as the end of a sentence of ours."""


def _python_call(node: ast.expr) -> ToolCall:
    if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
        raise _Unreadable("holds something that is no call with named arguments")
    name = ast.unparse(node.func)
    if not all(part.isidentifier() for part in name.split(".")):
        raise _Unreadable("holds a call of something that is no name")
    call = make_call(name, {str(one.arg): _python_value(str(one.arg), one.value) for one in node.keywords})
    if isinstance(call, str):
        raise _Unreadable(call)
    return call


def _python_value(argument: str, node: ast.expr) -> Any:
    """Return an argument's value. Only values are read, so nothing that a model writes is ever run."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            python = {"true": "True", "false": "False", "null": "None"}.get(inner.id)
            instead = f" ({python} is)" if python else ""
            raise _Unreadable(
                f"gives {shortened(argument)} {shortened(inner.id)}, which is no value in Python{instead}"
            )
    try:
        return ast.literal_eval(node)
    except (TypeError, ValueError):
        raise _Unreadable(f"gives {shortened(argument)} something that is no value in Python") from None


def _json_call(text: str) -> ToolCall | str:
    try:
        return _call(json.loads(text))
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg} at its character {error.pos}"
    except ValueError:
        return "is not JSON: a number of thousands of digits"
    except RecursionError:
        return "is JSON nested too deeply"


def _call(value: Any) -> ToolCall | str:
    """Return the call in one JSON value, or what is wrong with it."""
    if not isinstance(value, dict):
        return "has no name"
    return make_call(value.get("name"), next((value[key] for key in ("arguments", "parameters") if key in value), None))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_PARSERS: dict[CallFormat, Callable[[str], ParsedAnswer]] = {
    "hermes": _hermes,
    "json": _bare_json,
    "pythonic": _pythonic,
    "list": _json_list,
    "functionary": _functionary,
}
