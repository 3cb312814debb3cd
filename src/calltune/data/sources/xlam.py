"""The layout of xLAM and APIGen: `query`, `tools` and `answers`, each a list or its JSON text; `answers` are the calls.

Layout: Salesforce/xlam-function-calling-60k as of 2024-07. Its tools write their properties alone, with Python's type
names; a row without answers is one that no tool fits, and teaches nothing without a text.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from calltune.calling.strict_json import parse_value
from calltune.data.sources.conversations import example_of, read_tools
from calltune.data.sources.files import FileSettings, Noun, files_fingerprint, nouns_of, read_rows
from calltune.data.sources.message_parts import read_call
from calltune.data.sources.records import SYSTEMS, with_system
from calltune.data.sources.turns import Turn, messages_of
from calltune.data.sources.unread import tell_unread
from calltune.errors import DataError
from calltune.files.json_lines import require
from calltune.types import Example, Message


class Settings(FileSettings):
    """The keys of an `xlam` source."""


def read(settings: Settings) -> Iterator[Noun]:
    """Yield an example of each row, and the rows that cannot be used.

    Raises:
        DataError: a file is missing or not JSON as a whole.
    """
    rows = read_rows(settings.path)
    return nouns_of(rows, "xlam", lambda row, where: [_example(row, where)])


def fingerprint(settings: Settings) -> str:
    """Return the hash of the files."""
    return files_fingerprint(settings.path)


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """None: all of its rows are trained on."""
    return iter(())


def _example(row: Mapping[str, Any], where: str) -> Example:
    tell_unread(row, (*SYSTEMS, "query", "answers", "tools"), where, "row")
    question = Turn(f"{where}: query", "user", require(row, "query", str, where))
    answers = require(row, "answers", (list, str), where)
    answers = parse_value(answers, f"{where}: answers") if isinstance(answers, str) else answers
    if not isinstance(answers, list) or not answers:
        raise DataError(f"{where}: 'answers' must be a list of calls, and hold one")
    calls = tuple(read_call(call, f"{where}: answers[{number}]") for number, call in enumerate(answers))
    tools = read_tools(require(row, "tools", (list, str), where), f"{where}: tools")
    before = messages_of(with_system([question], row, where), tools)
    return example_of("xlam", where, where, before, Message("assistant", "", calls), tools)
