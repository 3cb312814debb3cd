"""Is an answer right, wrong, or not to be decided? Calls as BFCL compares them and by their schema, texts by a rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from calltune.calling.arguments import argument_schemas, required_arguments
from calltune.calling.behavior import is_ambiguous, message_behavior
from calltune.calling.schema import ProblemKind, call_problems
from calltune.evaluation.benchmarks.bfcl_ast import OPTIONAL, ErrorClass, ExpectedArgument, ExpectedCall, find_mistake
from calltune.mining.questions import Question
from calltune.types import Completion, Message, Tool, ToolCall

MinedError = ErrorClass | Literal["wrong_behavior", "truncated"]

ERRORS: tuple[MinedError, ...] = (*get_args(ErrorClass), "wrong_behavior", "truncated")
"""BFCL's classes, and: a text that shows another behaviour than the right one, and an answer that was cut off."""

_KINDS = {str: "string", bool: "boolean", int: "integer", float: "float", list: "array", dict: "dict"}
_ERROR_OF: Mapping[ProblemKind, MinedError] = {
    "unknown_tool": "invented_tool",
    "unknown_argument": "extra_argument",
    "missing_argument": "missing_argument",
    "wrong_type": "wrong_type",
    "not_in_enum": "wrong_value",
    "broken_rule": "wrong_value",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`error` says what is wrong with a wrong answer and is None otherwise."""

    outcome: Literal["right", "wrong", "undecided"]
    error: MinedError | None = None
    reason: str = ""


RIGHT = Verdict("right")


def verify(question: Question, completion: Completion) -> Verdict:
    """The verdict on one answer."""
    if completion.status == "error":
        return Verdict("undecided", None, completion.reason)
    if completion.status == "malformed" and not completion.text.strip():
        return _verify_message(question, Message("assistant"))
    if completion.status in ("malformed", "truncated"):
        return Verdict("wrong", completion.status, completion.reason)
    assert completion.message is not None, "an answer that was read"
    return _verify_message(question, completion.message)


def gold_problem(question: Question) -> str:
    """Why the verifier does not find the known answer right, or an empty string; such a question decides nothing."""
    verdict = _verify_message(question, question.gold)
    return "" if verdict.outcome == "right" else verdict.reason or str(verdict.error)


def _verify_message(question: Question, message: Message) -> Verdict:
    if question.behavior == "tool_call":
        return _verify_calls(question, message)
    if message.tool_calls:
        called = ", ".join(f"'{call.name}'" for call in message.tool_calls)
        return Verdict("wrong", "needless_call", f"{called} called, {question.behavior} expected")
    if not message.content.strip():
        return Verdict("undecided", None, "an empty answer")
    shown = message_behavior(message)
    if shown == question.behavior:
        return RIGHT
    if is_ambiguous(message.content) and question.behavior == "request_for_info":
        return Verdict("undecided", None, "a text that refuses and asks")
    return Verdict("wrong", "wrong_behavior", f"{shown}, {question.behavior} expected")


def _verify_calls(question: Question, message: Message) -> Verdict:
    expected = [_expected(call, question.sample.tools) for call in question.gold.tool_calls]
    known = [call for call in expected if call is not None]
    if len(known) < len(expected) or not expected:
        return Verdict("undecided", None, "the known call cannot be compared with others")
    mistake = find_mistake(known, message.tool_calls, "python", [tool.name for tool in question.sample.tools])
    if mistake:
        return Verdict("wrong", mistake.error_class, mistake.reason)
    # BFCL takes a text in another case for the same; the tool may not.
    for call in message.tool_calls:
        for problem in call_problems(call, question.sample.tools):
            if problem.kind == "invalid_schema":
                return Verdict("undecided", None, problem.text)
            return Verdict("wrong", _ERROR_OF[problem.kind], problem.text)
    return RIGHT


def _expected(call: ToolCall, tools: tuple[Tool, ...]) -> ExpectedCall | None:
    """A known call as BFCL would expect it, or None where BFCL has no words for it, such as for null.

    Accepted is the known value alone, and where the tool names a default for an argument that may be left out, leaving
    it out and giving the default are the same.
    """
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        return None
    schemas = argument_schemas(tool.parameters)
    required = required_arguments(tool.parameters)
    defaults = {
        name: schema["default"]
        for name, schema in schemas.items()
        if name not in required and type(schema.get("default")) in _KINDS
    }
    arguments: dict[str, ExpectedArgument] = {}
    for name, value in {**defaults, **call.arguments}.items():
        if type(value) not in _KINDS:
            return None
        accepted, kind, items = _accepted(value, schemas.get(name))
        may_be_left_out = name in defaults and defaults[name] == value
        arguments[name] = ExpectedArgument([accepted, OPTIONAL] if may_be_left_out else [accepted], kind, items)
    return ExpectedCall(call.name, required, arguments)


def _accepted(value: Any, schema: Any) -> tuple[Any, str, str | None]:
    """A value as BFCL lists it, its type, and its elements' type."""
    kind = _KINDS[type(value)]
    if kind == "integer" and isinstance(schema, Mapping) and schema.get("type") == "number":
        return float(value), "float", None
    if kind == "dict":
        return _alternatives(value), kind, None
    if kind != "array":
        return value, kind, None
    kinds = {_KINDS.get(type(element)) for element in value}
    items = kinds.pop() if len(kinds) == 1 else None
    return [_alternatives(element) for element in value] if items == "dict" else value, kind, items


def _alternatives(value: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {key: [element] for key, element in value.items()}
