"""Messages of a role and a content, in the words of every maker: one reader, as rows and logs mix them.

Read are OpenAI's chat completions (which TRL, vLLM and MLflow write too) and the items of its Responses API, the blocks
of Anthropic and Amazon Bedrock, the parts of Gemini and Vercel's SDK, LangChain's dumps, and ms-swift's roles.

Layouts: OpenAI's chat-completion, Responses and fine-tuning references, Anthropic's Messages, Bedrock's Converse and
Gemini's generateContent as of 2026-11; TRL 1.16's conversational format; LangChain 1.0's `message_to_dict`, `dumpd`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from calltune.calling.edits import Change, tell
from calltune.calling.strict_json import parse_value, shortened
from calltune.data.sources.marks import is_marked_learned
from calltune.data.sources.message_parts import read_call, read_parts, result_text
from calltune.data.sources.pydantic_messages import unfolded
from calltune.data.sources.thoughts import are_kept, joined, thought_text
from calltune.data.sources.turns import Turn, without_thoughts
from calltune.data.sources.ui_messages import plain_messages
from calltune.data.sources.unread import tell_unread
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Role, ToolCall

_ROLES: Mapping[str, Role] = {
    **{"system": "system", "developer": "system", "user": "user", "assistant": "assistant"},
    **{"tool": "tool", "function": "tool"},
    # LangChain's, Gemini's and Llama's words.
    **{"human": "user", "ai": "assistant", "model": "assistant", "ipython": "tool", "AIMessageChunk": "assistant"},
    # ms-swift's and ShareGPT's.
    **{"tool_response": "tool", "observation": "tool", "tool_call": "assistant", "function_call": "assistant"},
}
_CALLERS = ("tool_call", "function_call")
_REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks", "thoughts")
_READ = frozenset(
    (
        *("role", "type", "content", "parts", "tool_calls", "function_call", "tool_call_id", "name", "refusal", "id"),
        *(
            "weight",
            "train",
            "loss",
            "trainable",
            "train_on_turn",
            "loss_mask",
            "finish_reason",
            "stop_reason",
            "stopReason",
        ),
        *("status", "response_metadata", "additional_kwargs", "invalid_tool_calls", "usage_metadata", "usage"),
        *_REASONING,
    )
)


def read_turns(raw: Any, where: str) -> list[Turn]:
    """Return the turns of a list of messages. One that cannot be read says so in its `problem`.

    Raises:
        DataError: `raw` is no list. `where` names it.
    """
    if not isinstance(raw, list):
        raise DataError(f"{where} must be a list of messages, not {type(raw).__name__}")
    turns = list[Turn]()
    for number, item in enumerate(raw):
        place = f"{where}[{number}]"
        try:
            turns += message_turns(item, place)
        except DataError as error:
            turns.append(Turn(place, _role_of(item), problem=str(error)))
    return turns


def _role_of(item: Any) -> Role:
    """Return whose a message is, as far as can be told of one that is broken."""
    if not isinstance(item, dict):
        return "user"
    named = next((item[key] for key in ("role", "type") if isinstance(item.get(key), str)), "user")
    return _ROLES.get(named, "user")


def message_turns(raw: Any, where: str) -> list[Turn]:
    """Return the turns of one message: most are one, and a message of the user may hold results of calls before it.

    Raises:
        DataError: the role, the content or a call is wrong; the message begins with `where`.
    """
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a message must be an object, not {type(raw).__name__}")
    raw = unwrapped(raw)
    if several := plain_messages(raw, where) or unfolded(raw, where):
        return [turn for message in several for turn in message_turns(message, where)]
    if raw.get("role") is None and isinstance(raw.get("type"), str):
        if raw["type"] in _ITEMS:
            return _ITEMS[raw["type"]](raw, where)
        if raw["type"] in _ROLES:
            raw = {**raw, "role": raw["type"]}
        elif "role" not in raw and raw["type"].endswith(("_call", "_output", "_reference")):
            raise DataError(f"{where}: an item of type {shortened(raw['type'])}, which cannot be learned")
    if "role" not in raw and "parts" in raw:
        raw = {**raw, "role": "user"}
    name = require(raw, "role", str, where)
    role = _ROLES.get(name)
    if role is None:
        raise DataError(f"{where}: 'role' must be one of {', '.join(list(_ROLES)[:6])}, not {shortened(name)}")
    tell_unread(raw, _READ, where, "messages")
    if name in _CALLERS:
        return [_calling_turn(raw, where)]
    if role == "assistant":
        return [_assistant_turn(raw, where)]
    content = require(raw, "parts" if "content" not in raw and "parts" in raw else "content", object, where)
    if role == "tool" and not _holds_results(content):
        answered = raw.get("tool_call_id") or raw.get("toolCallId") or None
        return [Turn(where, role, result_text(content, where), result_of=answered, name=str(raw.get("name") or ""))]
    parts = read_parts(content, where)
    if parts.calls:
        raise DataError(f"{where}: a call stands in a message of the {role}")
    results = [Turn(where, "tool", text, result_of=call_id, name=name) for call_id, name, text in parts.results]
    if role == "tool" or (results and not parts.text.strip()):
        return results
    return [*results, Turn(where, role, parts.text)]


def unwrapped(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what LangChain wraps around it: `dumpd` in `kwargs`, `message_to_dict` in `data`."""
    if isinstance(raw.get("kwargs"), dict) and isinstance(raw.get("id"), list) and raw["id"]:
        kind = str(raw["id"][-1]).removesuffix("Chunk").removesuffix("Message").lower()
        return {"type": kind, **raw["kwargs"]}
    if isinstance(raw.get("data"), dict) and isinstance(raw.get("type"), str) and "content" in raw["data"]:
        return {"type": raw["type"], **raw["data"]}
    return raw


def _holds_results(content: Any) -> bool:
    kinds = ("tool_result", "tool-result", "toolResult", "functionResponse", "function_response", "tool_call_response")
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and (part.get("type") in kinds or any(map(part.get, kinds))) for part in parts)


def _assistant_turn(raw: Mapping[str, Any], where: str) -> Turn:
    thought = _reasoning(raw, where)
    content = raw.get("content", raw.get("parts"))
    if content is None:
        text, pairs = require(raw, "refusal", str, where) if raw.get("refusal") else "", []
    else:
        parts = read_parts(content, where)
        if parts.results:
            raise DataError(f"{where}: a result stands in a message of the assistant")
        text, pairs, thought = parts.text, parts.calls, joined(thought, parts.thought)
    if beside := calls_of(raw, where):
        # LangChain keeps Anthropic's blocks beside the calls that it made of them.
        if pairs and [call for _, call in pairs] != [call for _, call in beside]:
            raise DataError(f"{where}: 'content' holds other calls than those beside it")
        pairs = beside
    if raw.get("invalid_tool_calls"):
        raise DataError(f"{where}: 'invalid_tool_calls' holds a call that could not be parsed")
    return replace(_turn(raw, where, text, pairs), thought=thought)


def _turn(raw: Mapping[str, Any], where: str, text: str, pairs: list[tuple[Any, ToolCall]]) -> Turn:
    calls, ids = tuple(call for _, call in pairs), tuple(call_id or None for call_id, _ in pairs)
    return Turn(
        *(where, "assistant", text, calls, ids),
        is_learned=is_marked_learned(raw, where),
        finish=finish_of(raw),
    )


def finish_of(record: Mapping[str, Any]) -> str:
    """Return what a message, or the record around it, says of how the answer ended; empty where it says nothing."""
    for place in (record, *(record.get(key) for key in ("response_metadata", "generation_info", "metadata"))):
        for key in ("finish_reason", "stop_reason", "stopReason", "finishReason", "done_reason"):
            if isinstance(place, dict) and isinstance(place.get(key), str):
                return place[key]
    # An item of the Responses API, or a whole response of it.
    if isinstance(reason := record.get("incomplete_details"), dict) and isinstance(reason.get("reason"), str):
        return reason["reason"]
    status = record.get("status")
    return status if status in ("incomplete", "failed", "cancelled", "in_progress") else ""


def _calling_turn(raw: Mapping[str, Any], where: str) -> Turn:
    """Return the turn of a message that is a call, or a list of them, as JSON text."""
    content = require(raw, "content", (str, list, dict), where)
    if isinstance(content, str):
        content = parse_value(without_thoughts(content, where), f"{where}: content")
    calls = content if isinstance(content, list) else [content]
    if not calls:
        raise DataError(f"{where}: 'content' holds no call")
    return _turn(raw, where, "", [(None, read_call(call, f"{where}: content")) for call in calls])


def calls_of(raw: Mapping[str, Any], where: str) -> list[tuple[Any, ToolCall]]:
    """Return the calls beside a content, with their ids.

    Raises:
        DataError: they are no list, or one is no call.
    """
    calls, more = raw.get("tool_calls"), raw.get("additional_kwargs")
    if not calls and isinstance(more, dict):
        raw = {**raw, **{key: more[key] for key in ("tool_calls", "function_call") if more.get(key)}}
        calls = raw.get("tool_calls")
    if calls is None and raw.get("function_call") is not None:
        return [(None, read_call(raw["function_call"], f"{where}: function_call"))]
    if calls is None:
        return []
    calls = parse_value(calls, f"{where}: tool_calls") if isinstance(calls, str) else calls
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise DataError(f"{where}: 'tool_calls' must be a list, not {type(calls).__name__}")
    pairs = []
    for number, call in enumerate(calls):
        read = read_call(call, f"{where}: tool_calls[{number}]")
        pairs.append((call.get("id") if isinstance(call, dict) else None, read))
    return pairs


def _called_item(raw: Mapping[str, Any], where: str) -> list[Turn]:
    return [_turn(raw, where, "", [(raw.get("call_id"), read_call(raw, where))])]


def _result_item(raw: Mapping[str, Any], where: str) -> list[Turn]:
    text = result_text(require(raw, "output", object, where), where)
    return [Turn(where, "tool", text, result_of=raw.get("call_id") or None)]


def _thought_item(raw: Mapping[str, Any], where: str) -> list[Turn]:
    if are_kept() and (thought := thought_text(raw)):
        return [Turn(where, "assistant", thought=thought)]
    tell(where, "message", (Change("text_dropped", "remove", "", raw),))
    return []


_ITEMS = {"function_call": _called_item, "function_call_output": _result_item, "reasoning": _thought_item}
"""The items of OpenAI's Responses API that are no messages."""


def _reasoning(raw: Mapping[str, Any], where: str) -> str:
    """Return the thought beside an answer where thoughts are kept; otherwise tell the listener of it, to be counted."""
    beside = [raw[key] for key in _REASONING if raw.get(key)]
    if isinstance(raw.get("additional_kwargs"), dict):
        beside.append(raw["additional_kwargs"].get("reasoning_content"))
    # Servers say one thought under several keys.
    if are_kept() and (thought := next(filter(None, map(thought_text, beside)), "")):
        return thought
    dropped = [Change("text_dropped", "remove", f"/{key}", raw[key]) for key in _REASONING if raw.get(key)]
    more = raw.get("additional_kwargs")
    if isinstance(more, dict) and more.get("reasoning_content"):
        dropped.append(Change("text_dropped", "remove", "/additional_kwargs/reasoning_content", more))
    tell(where, "message", tuple(dropped))
    return ""
