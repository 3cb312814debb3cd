"""Answers that were streamed and logged as their pieces, put together again.

Pieces are chunks of OpenAI's chat completions, events of its Responses API, events of Anthropic's messages, or events
of Bedrock's ConverseStream.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from calltune.errors import DataError


def is_stream(events: Any) -> bool:
    """Return whether a list holds the pieces of a streamed answer."""
    return isinstance(events, list) and bool(events) and all(map(_is_event, events))


def _is_event(event: Any) -> bool:
    if not isinstance(event, dict):
        return False
    kind = event.get("type")
    is_named = isinstance(kind, str) and kind.startswith(("message_", "content_block_", "response.", "ping"))
    choices = event.get("choices")
    is_chunk = isinstance(choices, list) and (event.get("object") == "chat.completion.chunk" or _holds_delta(choices))
    return (
        is_named
        or is_chunk
        or bool(event.keys() & {"messageStart", "contentBlockDelta", "contentBlockStart"})
        or (bool(event.keys() & {"contentBlockStop", "messageStop", "metadata"}) and len(event) == 1)
    )


def _holds_delta(choices: Sequence[Any]) -> bool:
    return any(isinstance(choice, dict) and isinstance(choice.get("delta"), dict) for choice in choices)


def answer_of_events(events: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    """Return the answer of a stream: a message that says how it ended, or a response of the Responses API.

    Raises:
        DataError: the stream broke off before its answer ended.
    """
    done = next((event for event in reversed(events) if _is_last(event)), None)
    if done is not None:
        return done["response"]
    if any(isinstance(event.get("choices"), list) for event in events):
        return _of_chunks(events, where)
    if any(str(event.get("type", "")).startswith("response.") for event in events):
        raise DataError(f"{where}: the stream breaks off before its answer ends")
    return _of_blocks(events, where)


def _is_last(event: Mapping[str, Any]) -> bool:
    ends = ("response.completed", "response.incomplete", "response.failed")
    return event.get("type") in ends and isinstance(event.get("response"), dict)


def _of_chunks(events: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    text, thoughts, refusal, finish, calls = "", "", "", "", dict[Any, dict[str, Any]]()
    for event in events:
        for choice in event.get("choices") or []:
            if not isinstance(choice, dict) or choice.get("index") not in (0, None):
                raise DataError(f"{where}: the stream must hold one answer")
            finish = _text(choice.get("finish_reason")) or finish
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                continue
            text += _text(delta.get("content"))
            thoughts += _text(delta.get("reasoning_content") or delta.get("reasoning"))
            refusal += _text(delta.get("refusal"))
            pieces = delta.get("tool_calls")
            for number, piece in enumerate(pieces if isinstance(pieces, list) else []):
                if not isinstance(piece, dict):
                    raise DataError(f"{where}: the stream holds a call that is no object")
                call = calls.setdefault(_index(piece, number), {"id": None, "name": "", "arguments": ""})
                inner = piece.get("function")
                function: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
                call["id"] = piece.get("id") or call["id"]
                call["name"] = call["name"] or _text(function.get("name"))
                call["arguments"] += _text(function.get("arguments"))
    if not finish:
        raise DataError(f"{where}: the stream breaks off before its answer ends")
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "finish_reason": finish}
    listed = [{"id": call.pop("id"), "function": call} for call in calls.values()]
    beside = {"tool_calls": listed, "reasoning_content": thoughts, "refusal": refusal}
    return message | {key: value for key, value in beside.items() if value}


def _of_blocks(events: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    """Put together Anthropic's events, or Bedrock's, which say the same in other words."""
    blocks, finish = dict[Any, dict[str, Any]](), ""
    for event in map(_as_anthropic, events):
        index, kind = _index(event, 0), event.get("type")
        if kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            blocks[index] = {**event["content_block"], "pieces": ""}
        delta = event.get("delta")
        if not isinstance(delta, dict):
            continue
        if kind == "content_block_delta":
            block = blocks.setdefault(index, {"type": "text", "text": "", "pieces": ""})
            block["pieces"] += _text(delta.get("partial_json")) + _text(delta.get("text"))
            if "thinking" in delta or "reasoningContent" in delta:
                block["type"] = "thinking"
        finish = _text(delta.get("stop_reason")) or finish
    if not finish:
        raise DataError(f"{where}: the stream breaks off before its answer ends")
    content = []
    for block in blocks.values():
        pieces = block.pop("pieces")
        content.append(block | ({"input": pieces} if block.get("type") == "tool_use" else {"text": pieces}))
    return {"role": "assistant", "content": content, "stop_reason": finish}


def _as_anthropic(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an event of Bedrock's ConverseStream in Anthropic's words."""
    if isinstance(stop := event.get("messageStop"), dict):
        return {"type": "message_delta", "delta": {"stop_reason": stop.get("stopReason")}}
    if isinstance(start := event.get("contentBlockStart"), dict):
        inner = start.get("start")
        use = inner.get("toolUse") if isinstance(inner, dict) else None
        block = {"type": "text"}
        if isinstance(use, dict):
            block = {"type": "tool_use", "id": use.get("toolUseId"), "name": use.get("name")}
        return {"type": "content_block_start", "index": start.get("contentBlockIndex"), "content_block": block}
    if isinstance(piece := event.get("contentBlockDelta"), dict) and isinstance(piece.get("delta"), dict):
        delta = dict(piece["delta"])
        if isinstance(use := delta.pop("toolUse", None), dict):
            delta["partial_json"] = use.get("input")
        return {"type": "content_block_delta", "index": piece.get("contentBlockIndex"), "delta": delta}
    return event


def _index(piece: Mapping[str, Any], otherwise: int) -> int:
    """Return which call or block a piece belongs to."""
    return piece["index"] if isinstance(piece.get("index"), int) else otherwise


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
