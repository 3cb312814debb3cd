"""Calls written as Python writes them: `[name(key="value"), ...]`. Only values are read; nothing is ever run."""

import ast
import io
import tokenize
import warnings
from itertools import pairwise
from typing import Any

from calltune.calling.parsed import ParsedAnswer, make_call
from calltune.calling.strict_json import shortened
from calltune.types import Message, ToolCall

_JSON_WORDS = {"true": True, "false": False, "null": None}


def pythonic_calls(text: str) -> ParsedAnswer:
    """Read Llama's calls: a list of calls as the whole answer."""
    stripped = text.strip().removeprefix("<|python_start|>").removesuffix("<|python_end|>").strip()
    if not stripped.startswith("["):
        return ParsedAnswer(Message("assistant", text.strip()))
    calls = _list_of_calls(stripped, takes_json=False)
    if isinstance(calls, str):
        return ParsedAnswer(None, f"the answer begins as a list of calls and {calls}")
    return ParsedAnswer(Message("assistant", "", calls))


def lfm2_calls(text: str) -> ParsedAnswer:
    """Read LFM2's calls: a list between two marks, behind the words of the answer or alone.

    Lists and objects in it are JSON, so that `true`, `false` and `null` stand beside Python's own words.
    """
    opened, closed = "<|tool_call_start|>", "<|tool_call_end|>"
    words, mark, rest = text.partition(opened)
    if not mark:
        wrong = "a call is closed that was never opened" if closed in text else ""
        return ParsedAnswer(None if wrong else Message("assistant", text.strip()), wrong)
    block, mark, after = rest.partition(closed)
    place = f"the list of calls at character {len(words)}"
    if not mark:
        return ParsedAnswer(None, f"{place} is not closed")
    if opened in after or closed in after:
        return ParsedAnswer(None, f"{place} is followed by another mark of a call")
    calls = _list_of_calls(block.strip(), takes_json=True)
    if isinstance(calls, str):
        return ParsedAnswer(None, f"{place} {calls}")
    return ParsedAnswer(Message("assistant", (words + after).strip(), calls))


def _list_of_calls(text: str, takes_json: bool) -> tuple[ToolCall, ...] | str:
    """Return the calls, or what is wrong with them as the end of a sentence."""
    try:
        with warnings.catch_warnings():
            # Python warns of escapes such as "\d", but it is the model that wrote them.
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
        if not isinstance(tree, ast.List):
            raise _Unreadable("is no list")
        if takes_json and _joins_texts(text):
            raise _Unreadable("has two texts side by side")
        return tuple(_call(node, takes_json) for node in tree.elts)
    except (RecursionError, MemoryError):
        return "is nested too deeply"
    except SyntaxError as error:
        place = f" at character {error.offset - 1}" if error.lineno == 1 and error.offset else ""
        return f"is not written as Python{place}"
    except ValueError as error:
        return str(error) if isinstance(error, _Unreadable) else "is not written as Python"


def _joins_texts(text: str) -> bool:
    """Return whether two texts stand side by side, which Python makes one of: a list that lost a comma is not JSON."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    kinds = [token.type for token in tokens if token.type not in (tokenize.NL, tokenize.COMMENT)]
    return any(first == second == tokenize.STRING for first, second in pairwise(kinds))


class _Unreadable(ValueError):
    """What is wrong with an answer in Python's words, as the end of a sentence of ours."""


def _call(node: ast.expr, takes_json: bool) -> ToolCall:
    if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
        raise _Unreadable("holds something that is no call with named arguments")
    name = ast.unparse(node.func)
    if not all(part.isidentifier() for part in name.split(".")):
        raise _Unreadable("holds a call of something that is no name")
    call = make_call(name, {str(one.arg): _value(str(one.arg), one.value, takes_json) for one in node.keywords})
    if isinstance(call, str):
        raise _Unreadable(call)
    return call


def _value(argument: str, node: ast.expr, takes_json: bool) -> Any:
    """Return an argument's value."""
    if takes_json:
        node = _JsonWords().visit(node)
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


class _JsonWords(ast.NodeTransformer):
    """Reads JSON's words for true, false and null."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Give the constant that a word of JSON stands for."""
        return ast.copy_location(ast.Constant(_JSON_WORDS[node.id]), node) if node.id in _JSON_WORDS else node
