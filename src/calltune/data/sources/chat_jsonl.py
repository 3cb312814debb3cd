"""TRL's conversational rows: `messages`, or `prompt` and `completion`, or `prompt`, `chosen` and `rejected`.

Where `prompt` is left out, it is what `chosen` and `rejected` have in common at their beginning. `tools` is a list or
its JSON text. Layout: "Dataset formats and types" of TRL 1.16.
"""

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

from calltune.data.sources.chat_messages import count_answers, read_messages
from calltune.data.sources.conversations import ConversationSettings, answers_of, preference_of, read_tools
from calltune.data.sources.files import Noun, files_fingerprint, nouns_of, read_rows
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Message, Preference


class Settings(ConversationSettings):
    """The keys of a `chat_jsonl` source; `turns` says which answers of `messages` or `completion` are learned."""


def read(settings: Settings) -> Iterator[Noun]:
    """Yield examples or pairs, whichever a row holds, and the rows that cannot be used.

    Raises:
        DataError: a file is missing or not JSON as a whole.
    """

    def parse(row: dict[str, Any], where: str) -> Iterator[Noun]:
        if "chosen" in row or "rejected" in row:
            yield _preference(row, where)
            return
        key = "completion" if "prompt" in row or "completion" in row else "messages"
        prompt = _messages(row, "prompt", where) if key == "completion" else []
        learned = require(row, key, list, where)
        yield from answers_of(
            _after([(message, False) for message in prompt], read_messages(learned, f"{where}: {key}")),
            read_tools(row.get("tools"), f"{where}: tools"),
            settings.turns,
            count_answers(row.get("prompt")) + count_answers(learned),
            ("chat_jsonl", where, row),
        )

    return nouns_of(read_rows(settings.path), "chat_jsonl", parse)


def fingerprint(settings: Settings) -> str:
    """Return the hash of the files."""
    return files_fingerprint(settings.path)


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """None: all of its rows are trained on."""
    return iter(())


def _after(
    before: list[tuple[Message, bool]], messages: Iterator[tuple[Message, bool]]
) -> Iterator[tuple[Message, bool]]:
    yield from before
    yield from messages


def _preference(row: Mapping[str, Any], where: str) -> Preference:
    prompt = _messages(row, "prompt", where) if row.get("prompt") is not None else []
    chosen, rejected = _messages(row, "chosen", where), _messages(row, "rejected", where)
    num_common = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))))
    if chosen == rejected:
        raise DataError(f"{where}: 'chosen' and 'rejected' are the same")
    if not prompt:
        prompt, chosen, rejected = chosen[:num_common], chosen[num_common:], rejected[num_common:]
    for key, answer in (("chosen", chosen), ("rejected", rejected)):
        if len(answer) != 1:
            raise DataError(f"{where}: '{key}' must hold one answer after the prompt, not {len(answer)} messages")
    tools = read_tools(row.get("tools"), f"{where}: tools")
    return preference_of("chat_jsonl", where, prompt, tools, (chosen[0], rejected[0]))


def _messages(row: Mapping[str, Any], key: str, where: str) -> list[Message]:
    return [message for message, _ in read_messages(require(row, key, list, where), f"{where}: {key}")]
