"""TRL's conversational rows: `messages`, or `prompt` and `completion`, or `prompt`, `chosen` and `rejected`.

Where `prompt` is left out, it is what `chosen` and `rejected` have in common at their beginning. axolotl calls it
`messages`, and writes the two answers as objects. Every column may be JSON text. An unpaired row (`prompt`,
`completion`, `label`) is learned where its label is true. Layout: "Dataset formats and types" of TRL 1.16.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from calltune.data.sources.chat_messages import finish_of, read_turns
from calltune.data.sources.columns import with_columns
from calltune.data.sources.conversations import ConversationSettings, answers_of
from calltune.data.sources.files import Noun, files_fingerprint, nouns_of, read_rows
from calltune.data.sources.layouts import is_span_row
from calltune.data.sources.offers import offered_in_text
from calltune.data.sources.pairs import pair_of
from calltune.data.sources.records import READ, conversation_of, tools_of, with_system
from calltune.data.sources.turns import with_finish
from calltune.data.sources.unread import tell_unread
from calltune.errors import DataError
from calltune.files.json_lines import require


class Settings(ConversationSettings):
    """The keys of a `chat_jsonl` source; `turns` says which answers of `messages` or `completion` are learned."""


def read(settings: Settings) -> Iterator[Noun]:
    """Yield examples or pairs, whichever a row holds, and the rows that cannot be used.

    Raises:
        DataError: a file is missing or not JSON as a whole.
    """

    def parse(raw: dict[str, Any], where: str) -> Iterator[Noun]:
        if is_span_row(raw):
            # Its answer stands in other rows too.
            raise DataError(f"{where}: it is one of the rows of a trace")
        row = with_columns(raw, where)
        if "chosen" in row or "rejected" in row:
            yield pair_of(row, where, "chat_jsonl", read_turns)
            return
        place = ("chat_jsonl", where, raw)
        if "prompt" not in row and ("completion" not in row or "messages" in row):
            turns, tools = offered_in_text(*conversation_of(row, where, ()))
            yield from answers_of(turns, tools, settings.turns, place)
            return
        tell_unread(row, READ, where, "row")
        before = read_turns(require(row, "prompt", list, where), f"{where}: prompt") if "prompt" in row else []
        learned = read_turns(require(row, "completion", list, where), f"{where}: completion")
        turns = [*(replace(turn, is_learned=False) for turn in before), *with_finish(learned, finish_of(row))]
        turns, tools = offered_in_text(with_system(turns, row, where), tools_of((row,), where))
        yield from answers_of(turns, tools, settings.turns, place)

    return nouns_of(read_rows(settings.path), "chat_jsonl", parse)


def fingerprint(settings: Settings) -> str:
    """Return the hash of the files."""
    return files_fingerprint(settings.path)


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """None: all of its rows are trained on."""
    return iter(())
