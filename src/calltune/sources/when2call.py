"""NVIDIA's When2Call training files: from the Hub, or local files in the published layout.

`train_sft` rows hold `tools` and `messages`, `train_pref` rows also `chosen_response` and `rejected_response`. A call
is the text `<TOOLCALL>[{"name": ..., "arguments": {...}}]</TOOLCALL>`; it becomes a real tool call here, so that each
model learns its own way to write one. Layout: Hub dataset nvidia/When2Call as of 2025-04.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import pydantic

from calltune.behavior import message_behavior
from calltune.errors import DataError
from calltune.manifest import file_sha256
from calltune.options import Table
from calltune.rows import parse_object, read_jsonl, require
from calltune.schema import normalize_tool
from calltune.types import ROLES, Example, Message, Preference, Tool, ToolCall, chosen_example

_CALL = re.compile(r"<TOOLCALL>(.*?)</TOOLCALL>", re.DOTALL)


class Settings(Table):
    """The keys of a `when2call` source."""

    path: str = "nvidia/When2Call"
    """A Hub id, a local file, or a folder that holds `train_sft.jsonl` or `train/when2call_train_sft.jsonl`."""

    split: Literal["train_sft", "train_pref"]
    as_examples: bool = False
    """Of `train_pref`: take the chosen answers as examples to imitate, not the pairs. Its calls are the only ones in
    When2Call's training data, as the published `train_sft` holds none."""

    @pydantic.model_validator(mode="after")
    def _of_pairs(self) -> Self:
        if self.as_examples and self.split != "train_pref":
            raise ValueError("as_examples goes with split = 'train_pref'")
        return self


def read(settings: Settings) -> Iterator[Example | Preference]:
    """The rows of one split.

    Raises:
        DataError: the file or Hub dataset is missing, or a row is broken: file, line and field.
    """
    for where, row in _rows(settings):
        if settings.split == "train_sft":
            yield _example(row, where, settings)
        else:
            pair = _preference(row, where, settings)
            yield chosen_example(pair) if settings.as_examples else pair


def fingerprint(settings: Settings) -> str:
    """The local file's hash, or the Hub id."""
    file = _local_file(settings)
    return file_sha256(file) if file else settings.path


def _rows(settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    file = _local_file(settings)
    if file:
        yield from read_jsonl(file)
        return
    import datasets

    try:
        rows = datasets.load_dataset(settings.path, settings.split, split="train", streaming=True)
        for number, row in enumerate(rows, start=1):
            yield f"{settings.path}/{settings.split}:{number}", dict(row)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{settings.path}: not a local path, and the Hub did not give it: {reason}") from None


def _local_file(settings: Settings) -> Path | None:
    path = Path(settings.path)
    if path.is_file():
        return path
    if path.is_dir():
        names = (f"{settings.split}.jsonl", f"train/when2call_{settings.split}.jsonl")
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise DataError(f"{path}: holds neither {names[0]} nor {names[1]}")
        return found
    # A Hub id is `owner/name`; anything else was meant as a path.
    if path.suffix or path.is_absolute() or settings.path.startswith(".") or settings.path.count("/") != 1:
        raise DataError(f"{path}: no such data file or folder")
    return None


def _example(row: Mapping[str, Any], where: str, settings: Settings) -> Example:
    messages = _messages(row, where)
    if messages[-1].role != "assistant":
        raise DataError(f"{where}: 'messages' must end with the assistant's answer, not with {messages[-1].role}")
    return Example(
        _row_id(where, settings), "when2call", messages, _tools(row, where), behavior=message_behavior(messages[-1])
    )


def _preference(row: Mapping[str, Any], where: str, settings: Settings) -> Preference:
    prompt = _messages(row, where)
    if prompt[-1].role == "assistant":
        raise DataError(f"{where}: 'messages' must end before the assistant's answer")
    chosen = _message(require(row, "chosen_response", dict, where), f"{where}: chosen_response")
    rejected = _message(require(row, "rejected_response", dict, where), f"{where}: rejected_response")
    return Preference(
        _row_id(where, settings),
        "when2call",
        prompt=prompt,
        tools=_tools(row, where),
        chosen=chosen,
        rejected=rejected,
        behavior=message_behavior(chosen),
    )


def _row_id(where: str, settings: Settings) -> str:
    return f"{settings.split}:{where.rsplit(':', 1)[1]}"


def _tools(row: Mapping[str, Any], where: str) -> tuple[Tool, ...]:
    tools = require(row, "tools", list, where)
    return tuple(normalize_tool(tool, f"{where}: tools[{number}]") for number, tool in enumerate(tools))


def _messages(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    messages = require(row, "messages", list, where)
    if not messages:
        raise DataError(f"{where}: 'messages' is empty")
    return tuple(_message(message, f"{where}: messages[{number}]") for number, message in enumerate(messages))


def _message(raw: Any, where: str) -> Message:
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a message must be an object, not {type(raw).__name__}")
    role, content = require(raw, "role", str, where), require(raw, "content", str, where)
    if role not in ROLES:
        raise DataError(f"{where}: 'role' must be one of {', '.join(ROLES)}, not '{role}'")
    if role != "assistant":
        return Message(role, content)
    calls = [call for text in _CALL.findall(content) for call in _calls(text, where)]
    text = _CALL.sub("", content).strip() if calls else content
    if "<TOOLCALL>" in text:
        raise DataError(f"{where}: 'content' has a <TOOLCALL> that is not closed or holds no call")
    return Message("assistant", text, tuple(calls))


def _calls(text: str, where: str) -> list[ToolCall]:
    calls = parse_object(f'{{"calls": {text}}}', f"{where}: <TOOLCALL>")["calls"]
    return [_call(call, f"{where}: <TOOLCALL>") for call in (calls if isinstance(calls, list) else [calls])]


def _call(call: Any, where: str) -> ToolCall:
    if not isinstance(call, dict):
        raise DataError(f"{where}: a call must be an object, not {type(call).__name__}")
    return ToolCall(require(call, "name", str, where), require(call, "arguments", dict, where))
