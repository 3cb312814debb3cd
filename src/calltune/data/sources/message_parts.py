"""The content of one message, as OpenAI, Anthropic, Bedrock, Gemini, LangChain, OpenTelemetry and Vercel write it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calltune.calling.edits import Change, tell
from calltune.calling.strict_json import parse_value, shortened
from calltune.data.sources.thoughts import are_kept, joined, thought_text
from calltune.data.sources.turns import json_text
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import ToolCall

_TEXTS = (None, "text", "input_text", "output_text")
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning", "reasoning_content", "thought")
_MEDIA = (
    *("image", "image_url", "input_image", "audio", "audio_url", "input_audio", "video", "video_url", "document"),
    *("file", "input_file", "inlineData", "inline_data", "fileData", "file_data", "media"),
)
_VERCEL_RESULTS = ("text", "json", "error-text", "error-json", "content", "execution-denied")
_GEMINI_RESULTS = ("output", "error", "result")
_IGNORED = ("cachePoint", "cache_control", "step-start")


@dataclass(slots=True)
class Parts:
    """What a content holds: its text, its calls with their ids, and results as (id of the call, its name, text).

    `thought` is what it holds of thoughts, where these are kept.
    """

    text: str = ""
    calls: list[tuple[Any, ToolCall]] = field(default_factory=list)
    results: list[tuple[Any, str, str]] = field(default_factory=list)
    thought: str = ""


def read_parts(content: Any, where: str) -> Parts:
    """Return what the content of a message of anybody but a tool holds.

    Raises:
        DataError: it holds another thing than text, calls, results and thoughts.
    """
    if isinstance(content, str):
        return Parts(content)
    if not isinstance(content, list):
        raise DataError(f"{where}: 'content' must be str or list, not {type(content).__name__}")
    parts, is_after_call = Parts(), False
    for number, part in enumerate(content):
        place = f"{where}: content[{number}]"
        num_calls = len(parts.calls)
        text = _read_part(part, parts, place, f"/content/{number}", where)
        # Neighbouring parts are pieces of one text. What stands behind a call is a text of its own.
        parts.text += ("\n" if is_after_call and text and parts.text else "") + text
        is_after_call = len(parts.calls) > num_calls or (is_after_call and not text)
    return parts


def _read_part(part: Any, parts: Parts, place: str, path: str, where: str) -> str:
    """Return a part's text; calls and results go to `parts`, as do thoughts, or to the listener if they are dropped."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise DataError(f"{place}: a part must be an object, not {type(part).__name__}")
    kind = part.get("type")
    if kind in _THOUGHTS or part.get("reasoningContent") is not None or part.get("thought") is True:
        if are_kept() and (thought := thought_text(part.get("reasoningContent") or part)):
            parts.thought = joined(parts.thought, thought)
        else:
            tell(where, "message", (Change("text_dropped", "remove", path, part),))
        return ""
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return part["refusal"]
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return part["text"]
    if kind == "text" and isinstance(part.get("content"), str):
        return part["content"]
    if call := _call_in(part, kind, place):
        parts.calls.append(call)
        return ""
    if result := _result_in(part, kind, place):
        parts.results.append(result)
        return ""
    guarded = part.get("guardContent")
    if isinstance(guarded, dict) and isinstance(guarded.get("text"), dict):
        return require(guarded["text"], "text", str, place)
    if kind in _IGNORED or (len(part) == 1 and next(iter(part)) in _IGNORED):
        return ""
    raise DataError(f"{place}: a part of type {shortened(_kind_of(part))}; only text can be learned")


def _kind_of(part: Mapping[str, Any]) -> Any:
    """Return the type of a part, or the key that stands for it in Bedrock and Gemini."""
    named = [key for key, value in part.items() if value is not None]
    return part.get("type") or (named[0] if len(named) == 1 else None)


def _call_in(part: Mapping[str, Any], kind: Any, place: str) -> tuple[Any, ToolCall] | None:
    """Return the call of a part with its id, or None where it holds none."""
    if kind in ("tool_use", "tool_call"):
        return part.get("id"), read_call(part, place)
    if kind == "tool-call":
        return part.get("toolCallId"), read_call({**part, "name": part.get("toolName")}, place)
    if isinstance(call := part.get("toolUse"), dict):
        return call.get("toolUseId"), read_call(call, f"{place}: toolUse")
    call = part.get("functionCall", part.get("function_call"))
    if isinstance(call, dict):
        return call.get("id"), read_call({"args": {}, **call}, f"{place}: functionCall")
    return None


def _result_in(part: Mapping[str, Any], kind: Any, place: str) -> tuple[Any, str, str] | None:
    """Return the result of a part as (id of its call, the call's name, text), or None where it holds none."""
    if kind == "tool_result":
        return part.get("tool_use_id"), "", result_text(part.get("content"), place)
    if kind == "tool_call_response":
        return part.get("id"), "", result_text(part.get("response", part.get("result")), place)
    if kind == "tool-result":
        output = part.get("output", part.get("result"))
        if isinstance(output, dict) and output.get("type") in _VERCEL_RESULTS:
            output = output.get("value", output.get("reason"))
        return part.get("toolCallId"), str(part.get("toolName") or ""), result_text(output, place)
    if isinstance(result := part.get("toolResult"), dict):
        return result.get("toolUseId"), "", result_text(result.get("content"), f"{place}: toolResult")
    result = part.get("functionResponse", part.get("function_response"))
    if isinstance(result, dict):
        said = result.get("response")
        # Gemini wants an object, and names what a tool says in it.
        if isinstance(said, dict) and len(said) == 1 and next(iter(said)) in _GEMINI_RESULTS:
            said = next(iter(said.values()))
        return result.get("id"), str(result.get("name") or ""), result_text(said, place)
    return None


def result_text(content: Any, where: str) -> str:
    """Return a tool's result as text: what is no text is JSON text, and nothing is an empty one.

    Raises:
        DataError: it holds an image or another medium.
    """
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and content:
        texts = [_result_part(part, f"{where}: content[{number}]") for number, part in enumerate(content)]
        if all(text is not None for text in texts):
            return "".join(text for text in texts if text is not None)
    return json_text(content)


def _result_part(part: Any, place: str) -> str | None:
    """Return the text of a part of a result, or None for a value that is no part."""
    if not isinstance(part, dict):
        return part if isinstance(part, str) else None
    kind = _kind_of(part)
    if kind in _MEDIA and (part.get("type") in _MEDIA or isinstance(part.get(kind), dict)):
        raise DataError(f"{place}: a part of type {shortened(kind)}; only text can be learned")
    if part.get("type") in _TEXTS and isinstance(part.get("text"), str):
        return part["text"]
    return json_text(part["json"]) if kind == "json" and len(part) <= 3 else None


def read_call(raw: Any, where: str) -> ToolCall:
    """Return one call.

    `raw` holds `name` and `arguments`, bare or inside `function`; the arguments are an object or its JSON text, and
    nothing where the tool is called without any. LangChain and Gemini say `args`, Anthropic and Bedrock `input`.

    Raises:
        DataError: the call has no name, or its arguments are no object.
    """
    if isinstance(raw, dict) and isinstance(raw.get("function"), dict):
        raw, where = raw["function"], f"{where}.function"
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a call must be an object, not {type(raw).__name__}")
    name = require(raw, "name", str, where)
    key = next((key for key in ("arguments", "args", "input") if key in raw), "arguments")
    arguments = {} if key in raw and raw[key] in (None, "") else require(raw, key, (dict, str), where)
    if not name:
        raise DataError(f"{where}: 'name' is empty")
    if isinstance(arguments, str):
        arguments = parse_value(arguments, f"{where}: {key}") if arguments.strip() else {}
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, dict):
            raise DataError(f"{where}: '{key}' must spell an object, not {type(arguments).__name__}")
    return ToolCall(name, arguments)
