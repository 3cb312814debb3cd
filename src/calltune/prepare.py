"""`calltune prepare`: sources in, `data/*.jsonl` out; every row is written out or rejected with a reason."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from calltune.config import Config, Entry
from calltune.derive import Counts, derive, hold_out, questions
from calltune.doctor.changes import ChangeLog
from calltune.doctor.facts import Facts
from calltune.doctor.mix import counted_behavior, stop_when_missing
from calltune.doctor.questions import AskedQuestions
from calltune.doctor.split import write_rows
from calltune.doctor.spool import Spool
from calltune.doctor.tell import Diagnosis, diagnosis, show
from calltune.doctor.verdicts import judge
from calltune.doctor.workers import PackedChat, examine, load_packed
from calltune.edits import changes_told_to
from calltune.errors import DataError
from calltune.evaluate import open_benchmarks
from calltune.family import open_entries
from calltune.manifest import (
    begin,
    claim_run_folder,
    file_sha256,
    finish,
    is_complete,
    read_json,
    tokenizer_sha256,
    value_sha256,
)
from calltune.rows import example_from, write_json, write_jsonl
from calltune.sources import SOURCES
from calltune.terminal import ProgressBar, say, show_table
from calltune.threads import available_cores
from calltune.types import BEHAVIORS, Behavior, Example, Preference, Rejected

Source = tuple[Entry, ModuleType, Any]


def open_sources(config: Config) -> list[Source]:
    """Each source of the run file with its module and its checked settings.

    Raises:
        ConfigError: an unknown source, or a wrong key of one.
    """
    return open_entries("source", SOURCES, config.data.sources, "data.sources", config.run_folder)


def run(config: Config) -> Path:
    """Write `train.jsonl`, `preferences.jsonl`, their validation parts, `test.jsonl`, `rejected.jsonl`, `doctor.json`.

    Returns:
        The `data` folder. It is left as it is when complete and unchanged.

    Raises:
        CalltuneError: a source, a row, the model's template or the folder is wrong, or a behaviour is not taught.
    """
    sources = open_sources(config)
    kept_back, tests = held_out(config, sources)
    asked, counted = asked_questions(config, tests)
    folder = claim_run_folder(config) / "data"
    inputs = data_inputs(config, sources, asked)
    if is_complete(folder, inputs):
        stop_when_missing(config, read_json(folder / "doctor.json")["behaviors"], counted)
        say("prepare: complete and unchanged, skipped")
        return folder
    chat = load_packed(config.model, config.chat_template)
    with Spool(folder.parent) as spool, ChangeLog() as changes:
        found = diagnose(config, chat, sources, asked, spool, changes)
        show(found.told)
        stop_when_missing(config, found.told["behaviors"], counted)
        if moved := begin(folder, inputs):
            say(moved)
        counts = write_data(config, found, spool, folder, kept_back, tests)
        write_jsonl(folder / "changes.jsonl", changes.rows())
    write_json(folder / "doctor.json", found.told)
    say(", ".join(f"{name} {count:,}" for name, count in counts.items()))
    hashes = {path.name: file_sha256(path) for path in sorted(folder.glob("*.jsonl"))}
    finish(folder, inputs, counts=counts, behaviors=_by_file(found.told["behaviors"]), sha256=hashes)
    return folder


def data_inputs(config: Config, sources: Sequence[Source], asked: AskedQuestions) -> dict[str, Any]:
    """What `data/` is made of; when none of it changed, it is left as it is."""
    return {
        "seed": config.seed,
        "data": value_sha256(config.data.model_dump(mode="json", exclude={"workers", "allow_missing"})),
        "sources": [module.fingerprint(settings) for _, module, settings in sources],
        "tokenizer": tokenizer_sha256(config.model),
        "questions": value_sha256([asked.names, sorted(run.hex() for run in asked.exact)]),
    }


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
        counts["held_out"] = write_jsonl(folder / "held_out.jsonl", kept_back)
    counts["test"] = write_jsonl(folder / "test.jsonl", tests)
    return counts


def held_out(config: Config, sources: Sequence[Source]) -> tuple[list[Example | Preference], list[dict[str, Any]]]:
    """The rows that are kept from training, and all that is asked about what training never sees.

    The questions are those of sources that make their own, and those made from the rows; When2Call's test layout.

    Raises:
        DataError: a source cannot be read, or no row is left to train on.
    """
    asked = [
        row for _, module, settings in sources if hasattr(module, "questions") for row in module.questions(settings)
    ]
    settings = config.data.derive
    if settings is None:
        return [], asked
    rows = [row for _, row in _read(config, sources, of_training=False) if not isinstance(row, Rejected)]
    return rows, asked + list(questions(rows, settings, config.seed))


def asked_questions(config: Config, tests: Iterable[dict[str, Any]]) -> tuple[AskedQuestions, set[Behavior]]:
    """All that the run's benchmarks ask, and the behaviours with which their questions are right.

    Args:
        tests: what is held back and `prepare` is going to write.

    Raises:
        CalltuneError: a benchmark or its data is wrong.
    """
    asked, counted = AskedQuestions(), set[Behavior]()
    for row in tests:
        asked.add("test.jsonl", row["uuid"], row["question"], has_own_id=False)
        counted.add(row["correct_answer"])
    for entry, module, settings in open_benchmarks(config):
        # What is held back is not written yet, and was added above.
        if str(getattr(settings, "path", "")).startswith(str(config.run_folder)):
            continue
        for sample in module.samples(settings):
            asked.add_sample(sample, entry.title)
            if behavior := counted_behavior(sample):
                counted.add(behavior)
    return asked, counted


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


def _by_file(mix: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    return {
        name: {b: sum(counts[b] for counts in mix[stage].values()) for b in BEHAVIORS}
        for name, stage in (("train", "sft"), ("preferences", "dpo"))
    }


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
