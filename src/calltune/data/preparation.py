"""Sources in, rows examined, judged, split and written: what `prepare` and `check` share."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from calltune.calling.edits import changes_told_to
from calltune.config.entries import Entry, open_entries
from calltune.config.run_file import Config
from calltune.data.derive import Counts, derive, hold_out, questions
from calltune.data.doctor.changes import ChangeLog
from calltune.data.doctor.contamination import AskedQuestions
from calltune.data.doctor.facts import Facts
from calltune.data.doctor.split import write_rows
from calltune.data.doctor.spool import Spool
from calltune.data.doctor.tell import Diagnosis, diagnosis
from calltune.data.doctor.verdicts import judge
from calltune.data.doctor.workers import PackedChat, examine
from calltune.data.rows import example_from, training_row
from calltune.data.sources import SOURCES, SourceModule
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


def write_data(
    config: Config,
    found: Diagnosis,
    spool: Spool,
    folder: Path,
    kept_back: Sequence[Example | Preference],
    tests: Sequence[dict[str, Any]],
) -> dict[str, int]:
    """Write the rows to train on, those left out, and those to measure with; returns the rows of each file."""
    counts = write_rows(found, found.titles, spool, folder, config.seed, config.data.validation_fraction)
    if config.data.derive:
        counts["held_out"] = write_jsonl(folder / "held_out.jsonl", map(training_row, kept_back))
    counts["test"] = write_jsonl(folder / "test.jsonl", tests)
    return counts


def held_out(config: Config, sources: Sequence[Source]) -> tuple[list[Example | Preference], list[dict[str, Any]]]:
    """The rows that are kept from training, and all that is asked about what training never sees.

    The questions are those of sources that make their own, and those made from the rows; When2Call's test layout.

    Raises:
        DataError: a source cannot be read, or no row is left to train on.
    """
    asked = [row for _, module, settings in sources for row in module.questions(settings)]
    settings = config.data.derive
    if settings is None:
        return [], asked
    rows = [row for _, row in _read(config, sources, of_training=False) if not isinstance(row, Rejected)]
    return rows, asked + list(questions(rows, settings, config.seed))


def diagnose(
    config: Config, chat: PackedChat, sources: Sequence[Source], asked: AskedQuestions, spool: Spool, changes: ChangeLog
) -> Diagnosis:
    """Read all rows, look at each, judge them beside each other; their lines go to the spool, edits to the log.

    Raises:
        CalltuneError: a source cannot be read, or there is no row.
    """
    workers = config.data.workers or min(4, available_cores())
    entries = config.data.sources
    weights = {n: (e.weight, config.seed if e.seed is None else e.seed) for n, e in enumerate(entries)}
    rows: list[Facts] = []

    def look(numbered: Iterable[tuple[int, Example | Preference | Rejected]]) -> None:
        for facts, line in examine(numbered, chat, asked, workers):
            spool.put(facts, line)
            rows.append(facts)

    titles, reject = source_titles(sources), config.data.reject
    with changes_told_to(changes.hear):
        look(_read(config, sources))
    if not rows:
        raise DataError(
            "every conversation is held out; lower 'data.derive.held_out'"
            if config.data.derive
            else "the sources hold no rows"
        )
    judged = judge(rows, reject, weights)
    if all(facts.verdict for facts in rows):
        first = rows[0]
        raise DataError(
            f"all {len(rows):,} rows are rejected; the first, {first.id}: {first.verdict and first.verdict[1]}"
        )
    if config.data.derive:
        accepted = [facts for facts in rows if facts.verdict is None and facts.kind == "example"]
        examples = [example_from(json.loads(spool.line(facts))) for facts in accepted]
        look((len(titles), row) for row in _derived(config, examples))
        titles, judged = [*titles, "derived"], judge(rows, reject, weights)
    max_lengths = {"sft": config.sft.get("max_length"), "dpo": config.dpo.get("max_length")}
    return diagnosis(rows, judged, titles, max_lengths, reject, changes.kinds)


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


def source_titles(sources: Sequence[Source]) -> list[str]:
    """What each source is called; a second one of a name gets a number."""
    names = [entry.title for entry, _, _ in sources]
    totals, seen, titles = Counter(names), Counter[str](), list[str]()
    for name in names:
        seen[name] += 1
        titles.append(f"{name} {seen[name]}" if totals[name] > 1 else name)
    return titles


def _read(
    config: Config, sources: Sequence[Source], *, of_training: bool = True
) -> Iterator[tuple[int, Example | Preference | Rejected]]:
    """The rows to train on, or those that `[data.derive]` keeps from training."""
    derived = config.data.derive
    for number, ((_, module, settings), entry) in enumerate(zip(sources, config.data.sources, strict=True)):
        with ProgressBar(f"reading {entry.title}", total=entry.limit) as bar:
            for row in islice(module.read(settings), entry.limit):
                bar.advance()
                is_kept_back = bool(
                    derived and not isinstance(row, Rejected) and hold_out([row], derived, config.seed)[1]
                )
                if is_kept_back != of_training:
                    yield number, row
