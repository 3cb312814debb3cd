"""`calltune prepare`: sources in, `data/*.jsonl` out; every row is written out or rejected with a reason."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.data.doctor.contamination import AskedQuestions
from calltune.data.doctor.mix import stop_when_missing
from calltune.data.doctor.spool import Spool
from calltune.data.doctor.tell import show
from calltune.data.doctor.workers import load_packed
from calltune.data.preparation import Gathered, Source, diagnose, gather, open_sources, write_data
from calltune.data.redact.rows import redaction_sha256
from calltune.data.sources.mcp_tools import changes_since, recorded
from calltune.evaluation.jobs import open_benchmarks, own_questions
from calltune.evaluation.power import power_line
from calltune.files.disk import writing_to
from calltune.files.hashes import value_sha256
from calltune.files.json_lines import write_json, write_jsonl
from calltune.files.manifest import begin, claim_run_folder, finish, is_complete, tokenizer_sha256
from calltune.files.state import Doctor, read_state
from calltune.runtime.terminal import say
from calltune.types import BEHAVIORS, Behavior

TOOLS = "tools.json"
"""In `data/`: the catalogues that MCP servers gave, each with its hash."""


def run(config: Config) -> Path:
    """Write `train.jsonl`, `preferences.jsonl`, their validation parts, `test.jsonl`, `rejected.jsonl`, `doctor.json`.

    Returns:
        The `data` folder. It is left as it is when complete and unchanged.

    Raises:
        CalltuneError: a source, a row, the model's template or the folder is wrong, or a behaviour is not taught.
    """
    sources = open_sources(config)
    with writing_to(config.run_folder), gather(config, sources, config.run_folder) as gathered:
        asked, counted = asked_questions(config, gathered)
        folder = claim_run_folder(config) / "data"
        inputs = data_inputs(config, sources, asked)
        if is_complete(folder, inputs, "doctor.json"):
            stop_when_missing(config, read_state(folder / "doctor.json", Doctor)["behaviors"], counted)
            say("prepare: complete and unchanged, skipped")
            return folder
        for line in changes_since(folder / TOOLS, gathered.catalogues):
            say(f"prepare: {line}")
        chat = load_packed(config.model, config.chat_template, config.chat.thinking)
        with Spool(folder.parent) as spool:
            found = diagnose(config, chat, gathered, asked, spool)
            show(found.told)
            stop_when_missing(config, found.told["behaviors"], counted)
            if moved := begin(folder, inputs):
                say(moved)
            counts = write_data(config, found, spool, folder, gathered)
            write_jsonl(folder / "changes.jsonl", gathered.changes.rows())
        if gathered.catalogues:
            write_json(folder / TOOLS, recorded(gathered.catalogues))
    write_json(folder / "doctor.json", found.told)
    say(", ".join(f"{name} {count:,}" for name, count in counts.items()))
    for title, number in own_questions(config, gathered.tests):
        is_few, line = power_line(title, number)
        if is_few:
            say(f"WARNING: {line}; add conversations, or raise data.derive.held_out")
    redacted = {"redacted": gathered.redaction.told()} if gathered.redaction else {}
    finish(folder, inputs, counts=counts, behaviors=_by_file(found.told["behaviors"]), **redacted)
    return folder


def data_inputs(config: Config, sources: Sequence[Source], asked: AskedQuestions) -> dict[str, Any]:
    """What `data/` is made of; when none of it changed, it is left as it is."""
    settings = config.data.redact
    # A run without the table is made of what it was made of before there was one.
    unread = {"workers", "allow_missing"} if settings else {"workers", "allow_missing", "redact"}
    return {
        "seed": config.seed,
        "data": value_sha256(config.data.model_dump(mode="json", exclude=unread)),
        **({"redact": redaction_sha256(settings)} if settings else {}),
        **({"thinking": config.chat.thinking} if config.chat.thinking != "off" else {}),
        "sources": [module.fingerprint(settings) for _, module, settings in sources],
        "tokenizer": tokenizer_sha256(config.model),
        "questions": value_sha256([asked.names, sorted(run.hex() for run in asked.exact)]),
    }


def asked_questions(config: Config, gathered: Gathered) -> tuple[AskedQuestions, set[Behavior]]:
    """All that the run's benchmarks ask, and the behaviours with which their questions are right.

    Where personal details are taken out of rows, they are taken out of what is asked, too: a row that asks the same
    has the same stand-ins.

    Args:
        gathered: its `tests` are held back, and `prepare` is going to write them.

    Raises:
        CalltuneError: a benchmark or its data is wrong.
    """
    asked, counted = AskedQuestions(), set[Behavior]()
    for row in gathered.tests:
        asked.add("test.jsonl", row["uuid"], row["question"], has_own_id=False)
        counted.add(row["correct_answer"])
    for entry, module, settings in open_benchmarks(config):
        # What is held back is not written yet, and was added above.
        if str(getattr(settings, "path", "")).startswith(str(config.run_folder)):
            continue
        for sample in module.samples(settings):
            asked.add_sample(sample, entry.title, gathered.redaction.text if gathered.redaction else str)
            if sample.behavior:
                counted.add(sample.behavior)
    return asked, counted


def _by_file(mix: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    return {
        name: {b: sum(counts[b] for counts in mix[stage].values()) for b in BEHAVIORS}
        for name, stage in (("train", "sft"), ("preferences", "dpo"))
    }
