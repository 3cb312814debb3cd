"""Messages as Pydantic AI keeps them: requests and responses of parts, as `all_messages_json` writes them."""

from collections.abc import Iterator, Mapping
from typing import Any

from calltune.calling.strict_json import shortened
from calltune.errors import DataError

_ASKED = {"system-prompt": "system", "user-prompt": "user", "tool-return": "tool", "retry-prompt": "tool"}


def unfolded(raw: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Return the messages that a request or a response is; nothing for any other message.

    Raises:
        DataError: a part of a request is of a kind that cannot be read.
    """
    parts = raw.get("parts")
    if raw.get("kind") not in ("request", "response") or not isinstance(parts, list):
        return []
    if not parts or not all(isinstance(part, dict) and "part_kind" in part for part in parts):
        return []
    return list(_request(raw, parts, where)) if raw["kind"] == "request" else [_response(raw, parts)]


def _request(raw: Mapping[str, Any], parts: list[dict[str, Any]], where: str) -> Iterator[dict[str, Any]]:
    # Instructions go with each request, and stand in the place of the system's text.
    if raw.get("instructions") and where.endswith("[0]"):
        yield {"role": "system", "content": raw["instructions"]}
    for part in parts:
        kind = part["part_kind"]
        role = _ASKED.get(kind) if isinstance(kind, str) else None
        if role is None:
            raise DataError(f"{where}: a part of kind {shortened(kind)}; only text can be learned")
        if role != "tool" or (kind == "retry-prompt" and not part.get("tool_name")):
            yield {"role": "system" if role == "system" else "user", "content": part.get("content")}
            continue
        named = {"tool_call_id": part.get("tool_call_id"), "name": part.get("tool_name")}
        yield {"role": "tool", **named, "content": part.get("content")}


def _response(raw: Mapping[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
    state = raw.get("state", "complete")
    finish = raw.get("finish_reason") if state == "complete" else "incomplete"
    return {"role": "assistant", "content": [_said(part) for part in parts], "finish_reason": finish}


def _said(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part["part_kind"]
    if kind == "tool-call":
        named = {"id": part.get("tool_call_id"), "name": part.get("tool_name")}
        return {"type": "tool_call", **named, "arguments": part.get("args")}
    return {"type": kind, "text": part.get("content")}
