"""Sources in, rows examined, judged, split and written: what `prepare` and `check` share."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from calltune.calling.edits import Listener, changes_told_to
from calltune.calling.thoughts import settled, without_thought
from calltune.config.entries import Entry, open_entries
from calltune.config.run_file import Config
from calltune.data.derive import Conversations, Counts, derive, questions
from calltune.data.doctor.changes import ChangeLog
from calltune.data.doctor.contamination import AskedQuestions
from calltune.data.doctor.facts import Facts
from calltune.data.doctor.split import write_rows
from calltune.data.doctor.spool import NumberedRow, RowSpool, Spool
from calltune.data.doctor.tell import Diagnosis, diagnosis
from calltune.data.doctor.verdicts import judge
from calltune.data.doctor.workers import PackedChat, examine
from calltune.data.redact.rows import Redaction
from calltune.data.rows import example_from, training_row
from calltune.data.sources import SOURCES, SourceModule
from calltune.data.sources.mcp_tools import Catalogues, asked_once
from calltune.data.sources.thoughts import thoughts_kept
from calltune.errors import DataError
from calltune.files.json_lines import write_jsonl
from calltune.runtime.terminal import ProgressBar, say, show_table
from calltune.runtime.threads import available_cores
from calltune.types import Example, Preference, Rejected

Source = tuple[Entry, SourceModule[Any], Any]


def open_sources(config: Config) -> list[Source]:
    """Each source of the run file with its module and its checked settings.

    Raises:
        ConfigError: an unknown source, or a wrong key of one.
    """
    return open_entries(SOURCES, config.data.sources, "data.sources", config.run_folder)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the sources of a run give.

    `rows` are those that may be trained on, each with its source's number; they can be gone through once. `kept_back`
    are those that `[data.derive]` keeps from training. `tests` is all that is asked about what training never sees, in
    When2Call's test layout: the questions of sources that make their own, and those made from the rows kept back.
    `changes` are the edits of the rows that were read so far, which `hear` is told. `redaction` takes personal details
    out of rows, where the run file asks for it. `catalogues` are those that MCP servers were asked for.
    """

    titles: list[str]
    rows: Iterator[NumberedRow]
    kept_back: list[Example | Preference]
    tests: list[dict[str, Any]]
    changes: ChangeLog
    redaction: Redaction | None = None
    catalogues: Catalogues = field(default_factory=dict)

    @property
    def hear(self) -> Listener:
        """What is to hear of edits while rows are read."""
        return self.redaction.hear if self.redaction else self.changes.hear


@contextmanager
def gather(config: Config, sources: Sequence[Source], folder: Path | None = None) -> Iterator[Gathered]:
    """Make ready what the sources give; each is read once.

    Rows are read while they are examined. With `[data.derive]` they are read here, and wait on disk: questions are made
    from those kept back, and no row can be examined before it is known what is asked.

    Args:
        folder: where rows wait; None for the system's folder of temporary files.

    Raises:
        DataError: a source cannot be read.
        RunFolderError: nothing can be written in the folder.
    """
    titles, settings, redaction = source_titles(sources), config.data.derive, open_redaction(config)
    tests = [row for _, module, keys in sources for row in module.questions(keys)]
    tests = [redaction.value(row) for row in tests] if redaction else tests
    with thoughts_kept(config.chat.thinking != "off"), ChangeLog() as changes, asked_once() as catalogues:
        rows = _read(config, sources, redaction, changes)
        if settings is None:
            yield Gathered(titles, rows, [], tests, changes, redaction, catalogues)
            return
        conversations, numbers = Conversations(config.seed), list[float | None]()
        with RowSpool(folder) as waiting:
            with changes_told_to(redaction.hear if redaction else changes.hear):
                for number, row in rows:
                    waiting.put((number, row))
                    numbers.append(None if isinstance(row, Rejected) else conversations.add(row))
            held = conversations.held_out(settings)
            is_held = [number in held for number in numbers]
            kept_back = [
                row
                for (_, row), is_kept in zip(waiting, is_held, strict=True)
                if is_kept and not isinstance(row, Rejected)
            ]
            tests += questions(list(map(without_thought, kept_back)), settings, config.seed)
            yield Gathered(titles, _waiting(waiting, is_held), kept_back, tests, changes, redaction, catalogues)


def diagnose(config: Config, chat: PackedChat, gathered: Gathered, asked: AskedQuestions, spool: Spool) -> Diagnosis:
    """Look at all rows, judge them beside each other; their lines go to the spool.

    Raises:
        CalltuneError: a source cannot be read, or there is no row.
    """
    workers = config.data.workers or min(4, available_cores())
    entries = config.data.sources
    weights = {n: (e.weight, config.seed if e.seed is None else e.seed) for n, e in enumerate(entries)}
    rows: list[Facts] = []

    def look(numbered: Iterable[NumberedRow]) -> None:
        for facts, line in examine(numbered, chat, asked, workers):
            spool.put(facts, line)
            rows.append(facts)

    titles, reject = gathered.titles, config.data.reject
    with changes_told_to(gathered.hear):
        look(gathered.rows)
    if not rows:
        raise DataError("the sources hold no rows")
    judged = judge(rows, reject, weights)
    if all(facts.verdict for facts in rows):
        first = rows[0]
        raise DataError(
            f"all {len(rows):,} rows are rejected; the first, {first.id}: {first.verdict and first.verdict[1]}"
        )
    if config.data.derive:
        accepted = [facts for facts in rows if facts.verdict is None and facts.kind == "example"]
        # A thought is about the row that it was written for.
        examples = [without_thought(example_from(json.loads(spool.line(facts)))) for facts in accepted]
        look((len(titles), row) for row in _derived(config, examples))
        titles, judged = [*titles, "derived"], judge(rows, reject, weights)
    max_lengths = {"sft": config.sft.get("max_length"), "dpo": config.dpo.get("max_length")}
    redacted = gathered.redaction.notes() if gathered.redaction else []
    notes = [*chat.notes, *redacted, *_thoughts(config.chat.thinking, rows)]
    return diagnosis(rows, judged, titles, max_lengths, reject, gathered.changes, notes)


def write_data(config: Config, found: Diagnosis, spool: Spool, folder: Path, gathered: Gathered) -> dict[str, int]:
    """Write the rows to train on, those left out, and those to measure with; returns the rows of each file."""
    counts = write_rows(found, found.titles, spool, folder, config.seed, config.data.validation_fraction)
    if config.data.derive:
        counts["held_out"] = write_jsonl(folder / "held_out.jsonl", map(training_row, gathered.kept_back))
    counts["test"] = write_jsonl(folder / "test.jsonl", gathered.tests)
    return counts


def _derived(config: Config, rows: Sequence[Example]) -> list[Example | Preference]:
    assert config.data.derive is not None, "it was asked for"
    counts: Counts = Counter()
    made = list(derive(rows, config.data.derive, config.seed, counts))
    show_table(
        "derived from the calls, and what could not be",
        ("", "rows"),
        [(f"{rule}: {what}", f"{number:,}") for (rule, what), number in sorted(counts.items()) if number],
    )
    if not made:
        say("warning: nothing was derived: no call answers a user's message, or all shares are 0")
    return made


def _thoughts(thinking: str, rows: Sequence[Facts]) -> list[str]:
    """How many of the accepted rows have thoughts, and what becomes of them and of the others, as one line."""
    if thinking == "off":
        return []
    accepted = [facts for facts in rows if facts.verdict is None]
    number = sum(facts.has_thought for facts in accepted)
    how = "once with it and once, with thinking off, without it" if thinking == "both" else "with it"
    return [
        f"{number:,} rows have a thought and are trained {how}; {len(accepted) - number:,} have none and are trained "
        "with thinking off"
    ]


def open_redaction(config: Config) -> Redaction | None:
    """Return what takes personal details out of rows; None where the run file does not ask for it.

    Raises:
        ConfigError: a package is missing, or `[data.redact]` names what is not there.
    """
    return Redaction(config.data.redact, config.seed) if config.data.redact else None


def without_details(
    rows: Iterable[Example | Preference | Rejected], settings: Any, redaction: Redaction | None, listener: Listener
) -> Iterable[Example | Preference | Rejected]:
    """Return a source's rows as they may be shown and written: without personal details, where that is asked for.

    Each is in one mode: it has thoughts where each of its answers has one.

    Args:
        settings: the source's, whose `path` is a name of the user's own and stays.
        listener: is told of edits, where they are kept back until details are known.
    """
    if redaction:
        rows = redaction.rows(rows, listener, str(getattr(settings, "path", "")))
    return (row if isinstance(row, Rejected) else settled(row) for row in rows)


def source_titles(sources: Sequence[Source]) -> list[str]:
    """What each source is called; a second one of a name gets a number."""
    names = [entry.title for entry, _, _ in sources]
    totals, seen, titles = Counter(names), Counter[str](), list[str]()
    for name in names:
        seen[name] += 1
        titles.append(f"{name} {seen[name]}" if totals[name] > 1 else name)
    return titles


def _read(
    config: Config, sources: Sequence[Source], redaction: Redaction | None, changes: ChangeLog
) -> Iterator[NumberedRow]:
    for number, ((_, module, settings), entry) in enumerate(zip(sources, config.data.sources, strict=True)):
        with ProgressBar(f"reading {entry.title}", total=entry.limit) as bar:
            rows = islice(module.read(settings), entry.limit)
            for row in without_details(rows, settings, redaction, changes.hear):
                bar.advance()
                yield number, row


def _waiting(spool: RowSpool, is_held: Sequence[bool]) -> Iterator[NumberedRow]:
    """Yield the rows that are not held out."""
    with ProgressBar("examining rows", total=len(spool) - sum(is_held)) as bar:
        for row, is_kept in zip(spool, is_held, strict=True):
            if not is_kept:
                bar.advance()
                yield row
