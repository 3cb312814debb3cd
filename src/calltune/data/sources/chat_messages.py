"""Messages in the format of OpenAI's chat completions, which TRL, vLLM and MLflow write too.

Layout: OpenAI's chat-completion and fine-tuning references as of 2026-11; TRL 1.16's conversational format.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from calltune.calling.edits import Change, tell
from calltune.calling.strict_json import parse_value, shortened
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Message, Role, ToolCall

_ROLES: Mapping[str, Role] = {
    **{"system": "system", "developer": "system", "user": "user", "assistant": "assistant"},
    **{"tool": "tool", "function": "tool"},
}
_REASONING = ("reasoning_content", "reasoning", "thinking")


def read_messages(raw: Any, where: str) -> Iterator[tuple[Message, bool]]:
    """Yield the messages of a list, each with whether it may be learned (OpenAI's `weight` of 0 says no).

    Results of parallel calls come in the order of their calls, because the ids that tie them together are not kept.

    Raises:
        DataError: a message cannot be read; those before it have been given. `where` names the list.
    """
    if not isinstance(raw, list):
        raise DataError(f"{where} must be a list of messages, not {type(raw).__name__}")
    ids: list[Any] = []
    results: list[tuple[int, Message]] = []
    for number, item in enumerate(raw):
        place = f"{where}[{number}]"
        message = read_message(item, place)
        if message.role == "tool":
            results.append((_order(item, ids, place), message))
            continue
        yield from ((result, False) for _, result in sorted(results, key=lambda pair: pair[0]))
        results = []
        if message.role == "assistant":
            ids = [call.get("id") for call in item.get("tool_calls") or [] if isinstance(call, dict)]
        yield message, _weight(item, place)
    yield from ((result, False) for _, result in sorted(results, key=lambda pair: pair[0]))


def count_answers(raw: Any) -> int:
    """Return how many messages of a list are the assistant's."""
    messages = raw if isinstance(raw, list) else []
    return sum(isinstance(message, dict) and message.get("role") == "assistant" for message in messages)


def read_message(raw: Any, where: str) -> Message:
    """Return one message.

    Raises:
        DataError: the role, the content or a call is wrong; the message begins with `where`.
    """
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a message must be an object, not {type(raw).__name__}")
    role = _ROLES.get(require(raw, "role", str, where))
    if role is None:
        raise DataError(f"{where}: 'role' must be one of {', '.join(_ROLES)}, not {shortened(raw['role'])}")
    if role != "assistant":
        return Message(role, _text(raw, where))
    _tell_reasoning(raw, where)
    calls = _calls(raw, where)
    if raw.get("content") is None:
        return Message(role, require(raw, "refusal", str, where) if raw.get("refusal") else "", calls)
    return Message(role, _text(raw, where), calls)


def _text(raw: Mapping[str, Any], where: str) -> str:
    content = require(raw, "content", (str, list), where)
    if isinstance(content, str):
        return content
    texts = []
    for number, part in enumerate(content):
        place = f"{where}: content[{number}]"
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            raise DataError(f"{place}: a part must be an object, not {type(part).__name__}")
        key = "refusal" if part.get("type") == "refusal" else "text"
        if not isinstance(part.get(key), str):
            raise DataError(f"{place}: a part of type {shortened(part.get('type'))}; only text can be learned")
        texts.append(part[key])
    return "".join(texts)


def _calls(raw: Mapping[str, Any], where: str) -> tuple[ToolCall, ...]:
    calls = raw.get("tool_calls")
    if calls is None and raw.get("function_call") is not None:
        return (read_call(raw["function_call"], f"{where}: function_call"),)
    if calls is None:
        return ()
    calls = parse_value(calls, f"{where}: tool_calls") if isinstance(calls, str) else calls
    if not isinstance(calls, list):
        raise DataError(f"{where}: 'tool_calls' must be a list, not {type(calls).__name__}")
    return tuple(read_call(call, f"{where}: tool_calls[{number}]") for number, call in enumerate(calls))


def read_call(raw: Any, where: str) -> ToolCall:
    """Return one call.

    `raw` holds `name` and `arguments`, bare or inside `function`; the arguments are an object or its JSON text.

    Raises:
        DataError: the call has no name, or its arguments are no object.
    """
    if isinstance(raw, dict) and isinstance(raw.get("function"), dict):
        raw, where = raw["function"], f"{where}.function"
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a call must be an object, not {type(raw).__name__}")
    name, arguments = require(raw, "name", str, where), require(raw, "arguments", (dict, str), where)
    if not name:
        raise DataError(f"{where}: 'name' is empty")
    if isinstance(arguments, str):
        arguments = parse_value(arguments, f"{where}: arguments")
        if not isinstance(arguments, dict):
            raise DataError(f"{where}: 'arguments' must spell an object, not {type(arguments).__name__}")
    return ToolCall(name, arguments)


def _order(raw: Mapping[str, Any], ids: list[Any], where: str) -> int:
    """Return the place of a result among the calls that it may answer."""
    call_id = raw.get("tool_call_id")
    if call_id is None or not any(ids):
        return 0
    if call_id not in ids:
        raise DataError(f"{where}: 'tool_call_id' {shortened(call_id)} answers no call of the message before it")
    return ids.index(call_id)


def _weight(raw: Mapping[str, Any], where: str) -> bool:
    weight = raw.get("weight")
    if weight not in (None, 0, 1):
        raise DataError(f"{where}: 'weight' must be 0 or 1, not {shortened(weight)}")
    return weight != 0


def _tell_reasoning(raw: Mapping[str, Any], where: str) -> None:
    """Tell the listener of the thoughts beside an answer, so that they are counted.

    They are not learned, because thinking is off in every prompt.
    """
    dropped = [Change("text_dropped", "remove", f"/{key}", raw[key]) for key in _REASONING if raw.get(key)]
    tell(where, "message", tuple(dropped))
