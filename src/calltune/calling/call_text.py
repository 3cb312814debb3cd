"""Calls that a server left in the text of an answer, in whatever format a model writes them.

| written as                                                                       | known from                    |
|----------------------------------------------------------------------------------|-------------------------------|
| `<tool_call>{...}</tool_call>`, repeated, JSON or a Python literal                | Hermes, Qwen                  |
| `<TOOLCALL>[{...}]</TOOLCALL>`                                                    | Nemotron, When2Call           |
| `[TOOL_CALLS][{...}]`, `[TOOL_CALLS]name{...}`, `[TOOL_CALLS]name[ARGS]{...}`     | Mistral                       |
| `<functioncall> {...}`                                                            | Glaive                        |
| `<function=name>{...}</function>`                                                 | functionary, Llama 3.1        |
| `<tool_call><function=name><parameter=key>value</parameter>...`                   | Qwen 3.5, Nemotron 3          |
| `<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value>...`            | GLM                           |
| `<|python_tag|>{...}`, `<|tool_call|>[{...}]`, `<|tool_call_start|>[f(a=1)]<|...>`| Llama, Granite, Phi, LFM2     |
| `<|tool_call>call:name{...}<tool_call|>`, or FunctionGemma's and DeepSeek's marks  | Gemma 4, DeepSeek             |
| `<|channel|>` and `<|message|>` around messages                                   | gpt-oss                       |
| `{...}`, `[{...}]`, `[name(key="value")]` as the whole answer, bare or in a fence | Llama, xLAM, ToolACE          |

A call that is begun and cannot be read, and one in a format that is known but not read, is malformed: it must never
pass for words.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from calltune.calling.calls import parse_answer
from calltune.calling.loose_calls import NAMES, answer_of, json_at, listed_calls, loose_call, made_call
from calltune.calling.parsed import ParsedAnswer
from calltune.calling.strict_json import parse_literal, shortened
from calltune.calling.untyped_calls import with_types_known
from calltune.errors import DataError
from calltune.types import Tool, ToolCall

_UNREAD = re.compile(
    r"<[|\uff5c]?(?:[\w.]{0,20}:)?(?:tool|function)[_\u2581]calls?(?:[_\u2581](?:section[_\u2581])?begin)?"
    r"[|\uff5c]?>|<function_calls>|</?invoke\b|<tool_use>|<\|action_start\|>|"
    r"```tool_c(?:ode|all)|functools\[|^Action Input:|\u273fFUNCTION\u273f|<\uff5cDSML\uff5c",
    re.MULTILINE | re.IGNORECASE,
)
_MARKS = re.compile(
    r"<tool_call>|</tool_call>|</?TOOLCALL>|\[TOOL_CALLS\]|<functioncall>|<function=|<\|python_(?:tag|start)\|>|"
    r"<\|tool_call(?:_start)?\|>|<\|tool_call>|<start_function_call>|<\|channel\|>|"
    r"<\uff5ctool\u2581calls\u2581begin\uff5c>"
)
_DEEPSEEK = "<\uff5ctool\u2581calls\u2581begin\uff5c>"
_HERMES = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_TOOLCALL = re.compile(r"<TOOLCALL>(.*?)</TOOLCALL>", re.DOTALL)
_MISTRAL = re.compile(r"\s*([\w.\-]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\])?\s*(?=\{)")
_GLAIVE = re.compile(r"""\{\s*"name":\s*(".*?"),\s*"arguments":\s*(?:'(.*)'|(\{.*\}))\s*\}""", re.DOTALL)
_FENCE = re.compile(r"```(?:json|python|tool_code)?\s*\n(.*?)\n?```", re.DOTALL)
_INSIDE = re.compile(r'"(?:name|tool|tool_name|function)"\s*:\s*"([^"]+)"\s*,\s*"(?:arguments|parameters|args)"\s*:')
_PYTHONIC = re.compile(r"\[\s*([^\[\](){}\"'=]{1,100})\(\s*(?:\w+\s*=|\)\s*[\],])")


def read_call_text(text: str, tools: Sequence[Tool]) -> ParsedAnswer | None:
    """Return the answer with the calls that stand in its text, or None where its text holds none.

    Args:
        text: the assistant's words, without thoughts.
        tools: those that the row offers.

    Returns:
        An answer whose `message` is None where the text holds a call that cannot be read; `reason` says why.
    """
    try:
        if marks := set(_MARKS.findall(text)):
            return _marked(text, marks, tools)
        if unread := _UNREAD.search(text):
            return ParsedAnswer(None, f"{shortened(unread[0])} is a format that is not read")
        return _bare(text, tools) if "{" in text or "(" in text else None
    except DataError as error:
        return ParsedAnswer(None, str(error))


def glaive_call(text: str) -> str:
    """Return Glaive's call as JSON; its arguments are JSON text in single quotes.

    A call in another layout stays as it is, and is found out as a broken one.
    """
    match = _GLAIVE.fullmatch(text)
    if not match:
        return text
    quoted = match[2].replace("\\'", "'") if match[2] is not None else match[3]
    return f'{{"name": {match[1]}, "arguments": {quoted}}}'


def _marked(text: str, marks: set[str], tools: Sequence[Tool]) -> ParsedAnswer:
    """Read a text that holds the marks of one format."""
    readers: tuple[tuple[tuple[str, ...], Callable[[str], ParsedAnswer]], ...] = (
        (
            ("<tool_call>", "</tool_call>"),
            lambda text: (
                with_types_known(parse_answer(text, "glm", tools), tools)
                if "<arg_key>" in text
                else hermes_answer(text)
            ),
        ),
        (("<TOOLCALL>", "</TOOLCALL>"), _nemotron),
        (("[TOOL_CALLS]",), _mistral),
        (("<functioncall>",), _glaive),
        (("<function=",), _functionary),
        (("<|tool_call|>",), lambda text: _after(text, "<|tool_call|>")),
        (("<|python_tag|>", "<|python_start|>"), _tagged),
        (("<|tool_call_start|>",), _tagged),
        (("<|tool_call>",), lambda text: parse_answer(text, "gemma4")),
        (("<start_function_call>",), lambda text: parse_answer(text, "functiongemma")),
        (("<|channel|>",), lambda text: parse_answer(text, "harmony")),
        ((_DEEPSEEK,), lambda text: parse_answer(text, "deepseek_v3" if "```json" in text else "deepseek_v31")),
    )
    for own, reader in readers:
        if marks <= set(own):
            return reader(text)
    if marks <= {"<tool_call>", "</tool_call>", "<function="}:
        return with_types_known(parse_answer(text, "xml", tools), tools)
    return ParsedAnswer(None, f"it mixes {' and '.join(sorted(marks))}")


def hermes_answer(text: str) -> ParsedAnswer:
    """Read Hermes' calls; each is JSON, or spelled as Python does, as some of its rows are."""

    def strict(block: re.Match[str]) -> str:
        call = parse_literal(block[1].strip(), "<tool_call>")
        call = call[0] if isinstance(call, list) and len(call) == 1 else call
        return f"<tool_call>{json.dumps(_filled(call), allow_nan=False)}</tool_call>"

    # The search stops at the last end of a call, because looking for ends that are not there takes the square of the
    # text's length.
    called, end, rest = text.rpartition("</tool_call>")
    return parse_answer(_HERMES.sub(strict, called + end) + rest, "hermes")


def _nemotron(text: str) -> ParsedAnswer:
    head, end, rest = text.rpartition("</TOOLCALL>")
    calls = [call for block in _TOOLCALL.findall(head + end) for call in listed_calls(block, "<TOOLCALL>")]
    words = _TOOLCALL.sub("", head + end) + rest
    if "TOOLCALL>" in words or not calls:
        return ParsedAnswer(None, "<TOOLCALL> is not closed or holds no call")
    return answer_of(words, calls)


def _mistral(text: str) -> ParsedAnswer:
    words, *blocks = text.split("[TOOL_CALLS]")
    calls = list[ToolCall]()
    for block in blocks:
        block = block.strip().removesuffix("</s>").strip()
        if block.startswith(("[", "{")):
            calls += listed_calls(block, "[TOOL_CALLS]")
            continue
        place = 0
        while place < len(block):
            match = _MISTRAL.match(block, place)
            if not match:
                return ParsedAnswer(None, "[TOOL_CALLS] is followed by no call")
            arguments, place = json_at(block, match.end(), "[TOOL_CALLS]")
            calls.append(made_call(match[1], arguments, "[TOOL_CALLS]"))
            place += len(block[place:]) - len(block[place:].lstrip(" \n,;"))
    return answer_of(words, calls) if calls else ParsedAnswer(None, "[TOOL_CALLS] is followed by no call")


def _glaive(text: str) -> ParsedAnswer:
    words, *blocks = text.split("<functioncall>")
    ends = (block.replace("<|endoftext|>", "").replace("</functioncall>", "").strip() for block in blocks)
    return answer_of(words, [call for end in ends for call in listed_calls(glaive_call(end), "<functioncall>")])


def _functionary(text: str) -> ParsedAnswer:
    if "<parameter=" in text:
        return ParsedAnswer(None, "<parameter=...> is a format that is not read")
    return parse_answer(text, "functionary")


def _after(text: str, mark: str) -> ParsedAnswer:
    words, *blocks = text.split(mark)
    return answer_of(words, [call for block in blocks for call in listed_calls(block.strip(), mark)])


def _tagged(text: str) -> ParsedAnswer:
    """Read what stands behind a mark as Llama writes it: JSON, or Python's way to call."""
    words, mark, block = re.split(r"(<\|python_tag\|>|<\|python_start\|>|<\|tool_call_start\|>)", text, maxsplit=1)
    block, _, rest = re.sub(r"<\|(?:python_end|tool_call_end|eom_id|eot_id)\|>", "\0", block).partition("\0")
    block = block.strip()
    if rest.strip("\0 \n"):
        words = f"{words}\n{rest}"
    parsed = parse_answer(block, "json" if block.startswith("{") else "pythonic")
    if parsed.message is None or not parsed.message.tool_calls:
        return ParsedAnswer(None, parsed.reason or f"{mark} is followed by no call")
    return answer_of(words, parsed.message.tool_calls)


def _bare(text: str, tools: Sequence[Tool]) -> ParsedAnswer | None:
    """Read a call that carries no mark: the whole answer is one, or it names an offered tool as calls do."""
    names = {tool.name for tool in tools}
    whole = text.strip()
    fence = _FENCE.fullmatch(whole)
    whole = fence[1].strip() if fence else whole
    if whole.startswith(("{", "[")) and (calls := _json_calls(whole, names)) is not None:
        return calls
    if (match := _PYTHONIC.match(whole)) or _is_called(whole, names):
        named = match[1].strip() in names if match else True
        parsed = _pythonic(whole if match else f"[{whole}]", sorted(names))
        if parsed.message and parsed.message.tool_calls:
            return parsed
        if named:
            return ParsedAnswer(None, parsed.reason or "it is a call in a list that cannot be read")
    inside = [*_INSIDE.findall(text), *(name.strip() for name in _PYTHONIC.findall(text))]
    if name := next((name for name in inside if name in names), None):
        return ParsedAnswer(None, f"a call of {shortened(name)} stands among its words")
    return None


def _is_called(text: str, names: set[str]) -> bool:
    """Return whether the whole text is `name(...)` of an offered tool."""
    return text.endswith(")") and text.partition("(")[0].strip() in names


def _json_calls(text: str, names: set[str]) -> ParsedAnswer | None:
    """Return the calls of a text that is JSON, or None where it is another thing."""
    try:
        value = parse_literal(text, "")
    except DataError:
        if text.startswith("{") and ";" in text:
            parsed = parse_answer(text, "json")
            return parsed if parsed.message and parsed.message.tool_calls else None
        return None
    if isinstance(value, dict) and (inner := value.get("tool_calls") or value.get("function_call")):
        value = inner
    values = value if isinstance(value, list) else [value]
    if not values or not any(_looks_called(each, names) for each in values):
        return None
    return answer_of("", [loose_call(each, "its JSON") for each in values])


def _looks_called(value: Any, names: set[str]) -> bool:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        return False
    named = any(isinstance(value.get(key), str) and value[key] in names for key in NAMES)
    is_shaped = isinstance(value.get("name"), str) and "arguments" in value
    return (named and len(value) <= 4) or (is_shaped and len(value) <= 4)


def _pythonic(text: str, names: Sequence[str]) -> ParsedAnswer:
    """Read `[Name With Space(key="value")]`: names that Python does not have stand in for by ones that it has."""
    odd = [name for name in names if not all(part.isidentifier() for part in name.split("."))]
    stand_ins = {f"stand_in_{number}": name for number, name in enumerate(sorted(odd, key=len, reverse=True))}
    number_of_replaced = 0
    for stand_in, name in stand_ins.items():
        text, count = re.subn(rf"(^\[|\)\s*,)(\s*){re.escape(name)}\s*\(", rf"\g<1>\g<2>{stand_in}(", text)
        number_of_replaced += count
    parsed = parse_answer(text, "pythonic")
    if parsed.message is None:
        return parsed
    calls = [ToolCall(stand_ins.get(call.name, call.name), call.arguments) for call in parsed.message.tool_calls]
    if sum(call.name in stand_ins for call in parsed.message.tool_calls) != number_of_replaced:
        return ParsedAnswer(None, "a text in its arguments looks like another call")
    return answer_of("", calls)


def _filled(value: Any) -> Any:
    """Return a call whose empty arguments are written out, as a tool without parameters is called."""
    if isinstance(value, dict) and "name" in value and "arguments" in value and value["arguments"] in ("", None):
        return {**value, "arguments": {}}
    return value
