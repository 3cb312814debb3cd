"""NVIDIA's When2Call training files: from the Hub, or local files in the published layout.

The test's rows are refused: a model that was trained on the questions of a benchmark proves nothing by answering them.

`train_sft` rows hold `tools` and `messages`, `train_pref` rows also `chosen_response` and `rejected_response`. A call
is the text `<TOOLCALL>[{"name": ..., "arguments": {...}}]</TOOLCALL>`; it becomes a real tool call here, so that each
model learns its own way to write one. Layout: Hub dataset nvidia/When2Call as of 2025-04.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import pydantic

from calltune.calling.strict_json import check_value, parse_value, shortened
from calltune.config.table import Table
from calltune.data.sources.chat_messages import finish_of
from calltune.data.sources.columns import with_columns
from calltune.data.sources.conversations import example_of, preference_of, read_tools
from calltune.data.sources.files import Noun, SourceRow, nouns_of, read_rows
from calltune.data.sources.marks import is_marked_learned
from calltune.data.sources.message_parts import read_call
from calltune.data.sources.records import with_system
from calltune.data.sources.turns import Turn, answer_of, messages_of, talk_of, without_thoughts
from calltune.data.sources.unread import tell_unread
from calltune.errors import DataError
from calltune.files.hashes import file_sha256
from calltune.files.json_lines import require
from calltune.types import ROLES, Example, Preference, Tool, ToolCall, chosen_example

_NO_TEST_ROWS = "these are the benchmark's questions; training on them would make its scores worthless"
_READ = frozenset(("messages", "tools", "chosen_response", "rejected_response", "system"))
_CALL = re.compile(r"<TOOLCALL>(.*?)</TOOLCALL>", re.DOTALL)


class Settings(Table):
    """The keys of a `when2call` source."""

    path: str = "nvidia/When2Call"
    """A Hub id, a local file, or a folder that holds `train_sft.jsonl` or `train/when2call_train_sft.jsonl`."""

    split: Literal["train_sft", "train_pref"]
    as_examples: bool = False
    """Of `train_pref`: take the chosen answers as examples to imitate, not the pairs. Its calls are the only ones in
    When2Call's training data, as the published `train_sft` holds none."""

    @pydantic.field_validator("split", mode="before")
    @classmethod
    def _not_the_test(cls, split: Any) -> Any:
        if split in ("test", "mcq", "llm_judge"):
            raise ValueError(_NO_TEST_ROWS)
        return split

    @pydantic.model_validator(mode="after")
    def _of_pairs(self) -> Self:
        if self.as_examples and self.split != "train_pref":
            raise ValueError("as_examples goes with split = 'train_pref'")
        return self


def read(settings: Settings) -> Iterator[Noun]:
    """The rows of one split, and those of them that cannot be used.

    Raises:
        DataError: the file or Hub dataset is missing, or holds the test's rows.
    """

    def parse(row: dict[str, Any], where: str) -> list[Noun]:
        if settings.split == "train_sft":
            return [_example(row, where)]
        pair = _preference(row, where)
        return [chosen_example(pair) if settings.as_examples else pair]

    return nouns_of(_training_rows(settings), "when2call", parse)


def fingerprint(settings: Settings) -> str:
    """The local file's hash, or the Hub id."""
    file = _local_file(settings)
    return file_sha256(file) if file else settings.path


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """None: all of its rows are trained on."""
    return iter(())


def _training_rows(settings: Settings) -> Iterator[SourceRow]:
    for row in _rows(settings):
        if isinstance(row.value, dict) and "correct_answer" in row.value:
            raise DataError(f"{row.where}: {_NO_TEST_ROWS}")
        yield row


def _rows(settings: Settings) -> Iterator[SourceRow]:
    file = _local_file(settings)
    if file:
        yield from read_rows(str(file))
        return
    import datasets

    try:
        rows = datasets.load_dataset(settings.path, settings.split, split="train", streaming=True)
        for number, row in enumerate(rows, start=1):
            where = f"{settings.path}/{settings.split}:{number}"
            try:
                yield SourceRow(where, check_value(row, where))
            except DataError as error:
                yield SourceRow(where, row, str(error))
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


def _example(row: Mapping[str, Any], where: str) -> Example:
    tools = _tools(row, where)
    talk = talk_of(_turns(row, where), tools)
    last = talk.said[-1] if talk.said else None
    if problem := talk.problem or (last and last.problem):
        raise DataError(problem)
    if last is None or last.message.role != "assistant":
        role = last.message.role if last else "tool"
        raise DataError(f"{where}: 'messages' must end with the assistant's answer, not with {role}")
    if not last.is_learned:
        raise DataError(f"{where}: the answer is marked as not to be learned")
    return example_of("when2call", where, where, [one.message for one in talk.said[:-1]], last.message, tools)


def _preference(row: Mapping[str, Any], where: str) -> Preference:
    tools = _tools(row, where)
    prompt = messages_of(_turns(row, where), tools)
    answers = []
    for key in ("chosen_response", "rejected_response"):
        turn = _turn(require(row, key, dict, where), f"{where}: {key}")
        answers.append(answer_of([turn], tools, f"{where}: {key}", is_worse=key == "rejected_response"))
    return preference_of("when2call", where, prompt, tools, (answers[0], answers[1]))


def _tools(row: Mapping[str, Any], where: str) -> tuple[Tool, ...]:
    tell_unread(row, _READ, where, "row")
    return read_tools(require(row, "tools", list, where), f"{where}: tools")


def _turns(row: Mapping[str, Any], where: str) -> list[Turn]:
    messages = with_columns(row, where).get("messages") if "messages" in row else None
    messages = messages if isinstance(messages, list) else require(row, "messages", list, where)
    if not messages:
        raise DataError(f"{where}: 'messages' is empty")
    turns = [_turn(message, f"{where}: messages[{number}]") for number, message in enumerate(messages)]
    return with_system(turns, row, where)


def _turn(raw: Any, where: str) -> Turn:
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a message must be an object, not {type(raw).__name__}")
    role = require(raw, "role", str, where)
    if raw.get("tool_calls") or raw.get("function_call"):
        raise DataError(f'{where}: it holds calls as OpenAI writes them: read it with name = "openai_traces"')
    content = require(raw, "content", str, where)
    if role not in ROLES:
        raise DataError(f"{where}: 'role' must be one of {', '.join(ROLES)}, not {shortened(role)}")
    if role != "assistant":
        return Turn(where, role, content)
    content = without_thoughts(content, where)
    calls = [call for text in _CALL.findall(content) for call in _calls(text, where)]
    text = _CALL.sub("", content).strip() if calls else content
    if "<TOOLCALL>" in text:
        raise DataError(f"{where}: 'content' has a <TOOLCALL> that is not closed or holds no call")
    learned = is_marked_learned(raw, where)
    return Turn(where, "assistant", text, tuple(calls), is_learned=learned, finish=finish_of(raw))


def _calls(text: str, where: str) -> list[ToolCall]:
    place = f"{where}: <TOOLCALL>"
    calls = parse_value(text, place)
    return [read_call(call, place) for call in (calls if isinstance(calls, list) else [calls])]
