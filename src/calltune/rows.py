"""Rows on disk: JSON lines read with file and line in every error, written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from calltune.errors import DataError, RunFolderError
from calltune.types import Completion, Example, Message, Preference, Score, Tool, ToolCall

TEMPLATE_KEYS: dict[str, Any] = {"enable_thinking": False}
"""What every rendering tells the chat template; TRL hands a row's own to it."""


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file, each with its place `file:line` for messages. Blank lines are skipped.

    Raises:
        DataError: the file is missing or a line is not a UTF-8 JSON object.
    """
    try:
        lines = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such data file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    with lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            yield where, parse_object(line, where)


def parse_object(line: bytes | str, where: str) -> dict[str, Any]:
    """One JSON object.

    Raises:
        DataError: the text is not UTF-8, not JSON, or not an object; the message begins with `where`.
    """
    try:
        # Decoded here, as json.loads would guess UTF-16 from the bytes.
        row = json.loads(line.decode("utf-8") if isinstance(line, bytes) else line)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from None
    except ValueError:
        raise DataError(f"{where}: not valid JSON: a number of thousands of digits") from None
    except RecursionError:
        raise DataError(f"{where}: JSON nested too deeply") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: a JSON object was expected, not {type(row).__name__}")
    return row


def require(row: Mapping[str, Any], key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """The value of a field that must be there and of a type.

    Raises:
        DataError: `where: 'key' is missing`, or of another type.
    """
    if key not in row:
        raise DataError(f"{where}: '{key}' is missing")
    value = row[key]
    if not isinstance(value, kind):
        wanted = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
        raise DataError(f"{where}: '{key}' must be {wanted}, not {type(value).__name__}")
    return value


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[str]]:
    """A text file that appears under its name only when the block ends without an error.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise RunFolderError(f"{path.parent}: cannot be written: {error.strerror}") from None
    try:
        # A lone surrogate cannot be encoded; its backslash form is the JSON escape it was read from.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; give it the mode an ordinary file would have had.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write nouns or plain objects as JSON lines, atomically; returns how many."""
    return write_lines(path, map(to_json, rows))


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write lines, atomically; returns how many."""
    count = 0
    with atomic_writer(path) as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    return count


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, indented, atomically."""
    with atomic_writer(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def to_json(row: Any) -> str:
    """A noun or a plain object as one line of JSON; a training row in TRL's layout."""
    if isinstance(row, Example | Preference):
        row = training_row(row)
    return json.dumps(row if isinstance(row, dict) else asdict(row), ensure_ascii=False)


def training_row(row: Example | Preference) -> dict[str, Any]:
    """A row as `data/*.jsonl` holds it, which any trainer built on TRL reads as it stands.

    Arrow gives every object of a column the keys of all. So `tools` is JSON text (TRL 1.16 parses it), or null where
    there is none, as an empty list makes Llama's template announce tools; arguments stay objects, as most templates
    would quote text twice, and survive because datasets 5 sees in a file's first rows that its messages differ
    (`prepare` puts one of each shape there).
    """
    if isinstance(row, Example):
        conversation: dict[str, Any] = {"messages": message_dicts(row.messages)}
    else:
        prompt = message_dicts(row.prompt)
        chosen, rejected = (message_dicts((*row.prompt, answer))[-1:] for answer in (row.chosen, row.rejected))
        conversation = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    tools = json.dumps([tool_dict(tool) for tool in row.tools], ensure_ascii=False) if row.tools else None
    return {
        "id": row.id,
        "source": row.source,
        "behavior": row.behavior,
        "parent": row.parent,
        "rule": row.rule,
        **conversation,
        "tools": tools,
        "chat_template_kwargs": TEMPLATE_KEYS,
    }


def message_dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in the layout that chat templates read, which is OpenAI's; `tool_calls` only where there are some.

    Calls are numbered through the conversation, in nine digits as Mistral's template demands, and a tool's message has
    the number of the call it answers.
    """
    result, number, unanswered = [], 0, list[str]()
    for message in messages:
        one: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            one["tool_calls"] = []
            for call in message.tool_calls:
                number += 1
                unanswered.append(f"{number:09d}")
                function = {"name": call.name, "arguments": dict(call.arguments)}
                one["tool_calls"].append({"id": unanswered[-1], "type": "function", "function": function})
        elif message.role == "tool":
            one["tool_call_id"] = unanswered.pop(0) if unanswered else f"{number:09d}"
        else:
            unanswered = []
        result.append(one)
    return result


def tool_dict(tool: Tool) -> dict[str, Any]:
    """A tool in the layout that chat templates read, which is OpenAI's."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def read_appended(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that is appended to; a last line cut off by a kill is removed from the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return [parse_object(line, f"{path}:{n}") for n, line in enumerate(whole.splitlines(), start=1)]


def read_examples(path: Path) -> list[Example]:
    """The rows of `data/train.jsonl` as `prepare` wrote them."""
    return [example_from(row) for _, row in read_jsonl(path)]


def read_preferences(path: Path) -> list[Preference]:
    """The rows of `data/preferences.jsonl` as `prepare` wrote them."""
    return [preference_from(row) for _, row in read_jsonl(path)]


def example_from(row: Mapping[str, Any]) -> Example:
    """An `Example` from its `training_row`."""
    return Example(
        row["id"],
        row["source"],
        _conversation_from(row["messages"]),
        _tools_from(row["tools"]),
        behavior=row["behavior"],
        parent=row["parent"],
        rule=row["rule"],
    )


def preference_from(row: Mapping[str, Any]) -> Preference:
    """A `Preference` from its `training_row`."""
    (chosen,), (rejected,) = _conversation_from(row["chosen"]), _conversation_from(row["rejected"])
    return Preference(
        row["id"],
        row["source"],
        prompt=_conversation_from(row["prompt"]),
        tools=_tools_from(row["tools"]),
        chosen=chosen,
        rejected=rejected,
        behavior=row["behavior"],
        parent=row["parent"],
        rule=row["rule"],
    )


def completion_from(row: Mapping[str, Any]) -> Completion:
    """A `Completion` from its JSON object."""
    message = row["message"] and message_from(row["message"])
    return Completion(**{**row, "message": message})


def score_from(row: Mapping[str, Any]) -> Score:
    """A `Score` from its JSON object."""
    return Score(**row)


def message_from(row: Mapping[str, Any]) -> Message:
    """A completion's `Message` from its JSON object."""
    return Message(row["role"], row["content"], tuple(ToolCall(c["name"], c["arguments"]) for c in row["tool_calls"]))


def _conversation_from(rows: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    return tuple(
        Message(
            row["role"],
            row["content"],
            tuple(ToolCall(call["function"]["name"], call["function"]["arguments"]) for call in _calls(row)),
        )
        for row in rows
    )


def _calls(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    # Left out where there are none: Llama's template asks whether the key is there.
    return row.get("tool_calls") or []


def _tools_from(text: str | None) -> tuple[Tool, ...]:
    functions = [tool["function"] for tool in json.loads(text)] if text else []
    return tuple(Tool(f["name"], f["description"], f["parameters"]) for f in functions)
