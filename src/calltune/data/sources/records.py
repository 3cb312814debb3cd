"""Rows that hold a request to a model, or a request and its answer: which messages, answers, tools and system text.

Read are the bodies of OpenAI's chat completions and Responses API, of Anthropic's messages, of Amazon Bedrock's
Converse and Gemini's generateContent, with the answer beside `messages` (`response`, `choices`, `output`), with both
in objects of their own (`request` and `response`, `input` and `output`), or as Bedrock's model-invocation log has them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from calltune.calling.strict_json import parse_value, shortened
from calltune.data.sources.chat_messages import finish_of, message_turns, read_turns, unwrapped
from calltune.data.sources.columns import COLUMNS
from calltune.data.sources.conversations import read_tools
from calltune.data.sources.layouts import REQUESTS, holds, request_place
from calltune.data.sources.message_parts import read_parts
from calltune.data.sources.streams import answer_of_events, is_stream
from calltune.data.sources.turns import Turn, with_finish
from calltune.data.sources.unread import tell_unread
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Tool

SYSTEMS = ("system", "system_prompt", "systemPrompt", "system_message", "instructions", "systemInstruction")
_SYSTEMS = (*SYSTEMS, "system_instruction")
_ANSWERS = ("response", "choices", "output", "outputs", "candidates", "generations", "completion")
_TOOLS = ("tools", "functions", "toolConfig", "tool_config")
_SETTINGS = (
    "config",
    "model_parameters",
    "modelParameters",
    "optional_params",
    "parameters",
    "invocation_params",
    "kwargs",
)
READ = frozenset(
    (
        *(*COLUMNS, *_SYSTEMS, *_ANSWERS, *REQUESTS, *_TOOLS, *_SETTINGS),
        *("label", "kto_tag", "weight", "train", "trainable", "loss", "schemaVersion", "schemaType", "metadata"),
    )
)


def conversation_of(row: Mapping[str, Any], where: str, offered: Sequence[Tool]) -> tuple[list[Turn], tuple[Tool, ...]]:
    """Return the turns of a row, answers beside its messages included, and its tools.

    Args:
        offered: the tools of a row that names none.

    Raises:
        DataError: the row holds no conversation, or its answer cannot be read.
    """
    request, place, response, beside = _sides(row, where)
    tell_unread(row, READ, where, "row")
    history = request_turns(request, place, row)
    try:
        answer = response_turns(response, beside) if response else []
    except DataError as error:
        # The answers before it are kept.
        answer = [Turn(beside, "assistant", problem=str(error))]
    turns = with_finish(joined(history, answer, where), finish_of({**row, "status": None}))
    return turns, tools_of((request, row), where) or tuple(offered)


def _sides(row: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], str, Any, str]:
    """Return the request and its place, and the response and its place; a response of None is none."""
    place = request_place(row)
    if place == "log":
        return _logged(row, where)
    answer = next((key for key in _ANSWERS if row.get(key)), "")
    if place == "row":
        return row, where, row.get(answer), f"{where}: {answer}"
    if place in REQUESTS:
        return _body(row[place], f"{where}: {place}"), f"{where}: {place}", row.get(answer), f"{where}: {answer}"
    if place == "items":
        return row, where, _responses(row, answer), f"{where}: {answer}"
    if place == "text":
        answer = "output" if "output" in row else "response"
        return row, where, _responses(row, answer), f"{where}: {answer}"
    require(row, "messages", list, where)
    raise AssertionError(f"{where}: a list of messages was there")


def _responses(row: Mapping[str, Any], key: str) -> Any:
    """Return the response of a row in which the Responses API's own keys stand beside the request's."""
    return {**row, "output": row["output"]} if key == "output" and isinstance(row["output"], list) else row.get(key)


def _body(request: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the request inside of what a client logs around it, as `body` of an HTTP call or of `invoke_model`."""
    body = request.get("body")
    if holds(request, "messages", "contents", "input") or body is None:
        return request
    body = parse_value(body, f"{where}: body") if isinstance(body, str) else body
    if not isinstance(body, dict):
        raise DataError(f"{where}: 'body' must be an object, not {type(body).__name__}")
    return body


def _logged(row: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], str, Any, str]:
    """Return the sides of a record of Amazon Bedrock's model-invocation log."""
    sides = []
    for side in ("input", "output"):
        record, key = require(row, side, dict, where), f"{side}BodyJson"
        if record.get(key) is None and record.get(f"{side}BodyS3Path"):
            path = shortened(record[f"{side}BodyS3Path"])
            raise DataError(f"{where}: {side}: its body stands in a file of its own, {path}, and must be put in here")
        sides.append(require(record, key, (dict, list), f"{where}: {side}"))
    request = sides[0]
    if not isinstance(request, dict) or not holds(request, "messages"):
        raise DataError(f"{where}: input: the body of {shortened(row.get('operation'))} holds no 'messages'")
    return request, f"{where}: input", sides[1], f"{where}: output"


def request_turns(request: Mapping[str, Any], where: str, row: Mapping[str, Any]) -> list[Turn]:
    """Return the turns of a request. The system's text may stand in it, or in the row around it.

    Raises:
        DataError: it goes on with messages that are not in it, or has none.
    """
    if earlier := request.get("previous_response_id") or row.get("previous_response_id"):
        raise DataError(f"{where}: it goes on from {shortened(earlier)}, whose messages are not in the row")
    key = next((key for key in ("messages", "contents", "input") if request.get(key) is not None), "messages")
    raw = request.get(key)
    raw = [{"role": "user", "content": raw}] if key == "input" and isinstance(raw, str) else raw
    turns = read_turns(raw, f"{where}: {key}")
    config = request.get("config")
    beside = config if isinstance(config, dict) and "contents" in request else {}
    own = next((place for place in (request, beside) if any(map(place.get, _SYSTEMS))), row)
    return with_system(turns, own, where)


def with_system(turns: Sequence[Turn], row: Mapping[str, Any], where: str) -> list[Turn]:
    """Return the turns with the system's text that stands beside them, unless they begin with it."""
    texts = [_system_text(row[key], f"{where}: {key}") for key in _SYSTEMS if row.get(key)]
    text = "\n\n".join(dict.fromkeys(text for text in texts if text.strip()))
    if not text or (turns and turns[0].role == "system" and turns[0].text.strip() == text.strip()):
        return list(turns)
    return [Turn(f"{where}: system", "system", text), *turns]


def _system_text(raw: Any, where: str) -> str:
    if isinstance(raw, dict):
        raw = raw.get("parts") or raw.get("content") or [raw]
    return read_parts(raw, where).text


def tools_of(places: Sequence[Mapping[str, Any]], where: str) -> tuple[Tool, ...]:
    """Return the first tools that stand in one of several objects, or in the model's settings there."""
    for place in places:
        settings = [place[key] for key in _SETTINGS if isinstance(place.get(key), dict)]
        for holder in (place, *settings):
            for key in _TOOLS:
                raw = holder.get(key)
                raw = raw.get("tools") if isinstance(raw, dict) and key in ("toolConfig", "tool_config") else raw
                if raw is not None and (tools := read_tools(raw, f"{where}: {key}")):
                    return tools
    return ()


def response_turns(response: Any, where: str) -> list[Turn]:
    """Return the turns of the answer to a request, in whatever a maker or a logger wraps around it.

    Raises:
        DataError: it holds no answer, more than one, or an error.
    """
    if isinstance(response, str):
        return message_turns({"role": "assistant", "content": response}, where)
    if is_stream(response):
        return response_turns(answer_of_events(response, where), where)
    if isinstance(response, list) and where.endswith(("choices", "candidates", "generations")):
        response = {where.rpartition(" ")[2]: response}
    if isinstance(response, list):
        return read_turns(response, where)
    if not isinstance(response, dict):
        raise DataError(f"{where}: an answer must be an object, not {type(response).__name__}")
    response = unwrapped(response)
    for key in ("choices", "candidates", "generations"):
        if response.get(key) is not None:
            return _only(response, key, where)
    if isinstance(body := response.get("body"), dict | list | str):
        body = parse_value(body, f"{where}: body") if isinstance(body, str) else body
        return response_turns(body, f"{where}: body")
    if response.get("error") and not holds(response, "content", "output"):
        raise DataError(f"{where}: it is an error: {shortened(response['error'])}")
    if "role" in response or response.get("type") in ("ai", "message") or "content" in response:
        return message_turns({"role": "assistant", **response, "type": None}, where)
    for key in ("output", "message", "messages", "response"):
        inner = response.get(key)
        if inner is not None and not (key == "output" and isinstance(inner, str)):
            return with_finish(response_turns(inner, f"{where}: {key}"), finish_of(response))
    raise DataError(f"{where}: it holds no answer that is known: its keys are {shortened(', '.join(response))}")


def _only(response: Mapping[str, Any], key: str, where: str) -> list[Turn]:
    choices = require(response, key, list, where)
    while len(choices) == 1 and isinstance(choices[0], list):
        choices = choices[0]
    if len(choices) != 1 or not isinstance(choices[0], dict):
        raise DataError(f"{where}: '{key}' must hold one answer, not {len(choices)}")
    choice, place = choices[0], f"{where}: {key}[0]"
    if key == "candidates":
        message: Any = {**require(choice, "content", dict, place), "role": "model"}
    elif "message" not in choice and isinstance(choice.get("text"), str):
        message = {"role": "assistant", "content": choice["text"]}
    else:
        message = require(choice, "message", dict, place)
    return with_finish(message_turns(message, place), finish_of(choice))


def joined(history: list[Turn], answer: list[Turn], where: str) -> list[Turn]:
    """Return history and answer as one conversation; some loggers put the answer, or all, into both."""
    if not answer or not history or answer[0].problem:
        return [*history, *answer]

    def said(turns: Sequence[Turn]) -> list[Any]:
        return [(turn.role, turn.text, turn.calls) for turn in turns]

    if len(answer) >= len(history) and said(answer[: len(history)]) == said(history):
        return answer
    num_answer = len(answer)
    if len(history) > num_answer and said(history[-num_answer:]) == said(answer):
        return [*history[:-num_answer], *answer]
    if history[-1].role == "assistant" and answer[0].role == "assistant":
        raise DataError(f"{where}: its messages end with an answer, and another one stands beside them")
    return [*history, *answer]
