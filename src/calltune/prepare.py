"""`calltune prepare`: sources in, `data/*.jsonl` out; every row is written out or rejected with a reason."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from calltune.config import Config, Entry
from calltune.derive import Counts, derive, hold_out, questions
from calltune.derive_settings import DeriveSettings
from calltune.errors import DataError
from calltune.family import open_entries
from calltune.manifest import begin, claim_run_folder, file_sha256, finish, is_complete, value_sha256
from calltune.rows import to_json, write_jsonl
from calltune.schema import call_problems
from calltune.sources import SOURCES
from calltune.terminal import ProgressBar, say, show_table
from calltune.types import BEHAVIORS, Example, Message, Preference, Tool


@dataclass(slots=True)
class _Split:
    """What becomes of the rows; `rejected` holds each row left out, with its reason."""

    train: list[Example] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    validation: list[Example] = field(default_factory=list)
    validation_preferences: list[Preference] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)


def open_sources(config: Config) -> list[tuple[Entry, ModuleType, Any]]:
    """Each source of the run file with its module and its checked settings.

    Raises:
        ConfigError: an unknown source, or a wrong key of one.
    """
    return open_entries("source", SOURCES, config.data.sources, "data.sources", config.run_folder)


def run(config: Config) -> Path:
    """Write `train.jsonl`, `preferences.jsonl`, their validation parts, `test.jsonl` and `rejected.jsonl`.

    Returns:
        The `data` folder. It is left as it is when complete and unchanged.

    Raises:
        CalltuneError: a source, a row or the folder is wrong.
    """
    sources = open_sources(config)
    folder = claim_run_folder(config) / "data"
    inputs = {
        "seed": config.seed,
        "data": value_sha256(config.data.model_dump(mode="json")),
        "sources": [module.fingerprint(settings) for _, module, settings in sources],
    }
    if is_complete(folder, inputs):
        say("prepare: complete and unchanged, skipped")
        return folder
    tests = [
        row for _, module, settings in sources if hasattr(module, "questions") for row in module.questions(settings)
    ]
    rows = list(_read_all(sources))
    if not rows:
        raise DataError("the sources hold no rows")
    held_out: list[Example | Preference] = []
    if config.data.derive:
        rows, held_out, asked = _derive(rows, config.data.derive, config.seed)
        tests += asked
    split = _split(rows, config)
    if moved := begin(folder, inputs):
        say(moved)
    counts = {"rows_read": len(rows) + len(held_out)}
    parts = {
        "train": split.train,
        "preferences": split.preferences,
        "validation": split.validation,
        "validation_preferences": split.validation_preferences,
        "rejected": split.rejected,
        **({"held_out": held_out} if config.data.derive else {}),
    }
    for name, part in parts.items():
        counts[name] = write_jsonl(folder / f"{name}.jsonl", part)
    if counts["rows_read"] != sum(map(len, parts.values())):
        raise AssertionError(f"{len(rows)} rows were read, but {counts} were written")
    counts["test"] = write_jsonl(folder / "test.jsonl", tests)
    _show(split, counts)
    hashes = {path.name: file_sha256(path) for path in sorted(folder.glob("*.jsonl"))}
    finish(folder, inputs, counts=counts, behaviors=_behavior_counts(split), sha256=hashes)
    return folder


def _derive(
    rows: list[Example | Preference], settings: DeriveSettings, seed: int
) -> tuple[list[Example | Preference], list[Example | Preference], list[dict[str, Any]]]:
    """The rows to train on with what is derived from them, the rows held out, and the questions about these."""
    rows, held_out = hold_out(rows, settings, seed)
    if not rows:
        raise DataError("every conversation is held out; lower 'data.derive.held_out'")
    counts: Counts = Counter()
    derived = list(derive(rows, settings, seed, counts))
    show_table(
        "derived from the calls, and what could not be",
        ("", "rows"),
        [(f"{rule}: {what}", f"{number:,}") for (rule, what), number in sorted(counts.items()) if number],
    )
    if not derived:
        say("warning: nothing was derived: no call answers a user's message, or all shares are 0")
    return [*rows, *derived], held_out, list(questions(held_out, settings, seed))


def _read_all(sources: list[tuple[Entry, ModuleType, Any]]) -> Iterator[Example | Preference]:
    for entry, module, settings in sources:
        with ProgressBar(f"reading {entry.name}", total=getattr(settings, "limit", None)) as bar:
            for row in module.read(settings):
                bar.advance()
                yield row


def _split(rows: list[Example | Preference], config: Config) -> _Split:
    split, seen = _Split(), dict[str, str]()
    for row in rows:
        content = value_sha256({k: v for k, v in _content(row).items() if k not in ("id", "source")})
        if content in seen:
            split.rejected.append({"id": row.id, "reason": f"the same as {seen[content]}", "row": _content(row)})
            continue
        seen[content] = row.id
        held_back = _unit_interval(_question(row), config.seed) < config.data.validation_fraction
        if isinstance(row, Example):
            (split.validation if held_back else split.train).append(row)
        else:
            (split.validation_preferences if held_back else split.preferences).append(row)
    return split


def _content(row: Example | Preference) -> dict[str, Any]:
    return json.loads(to_json(row))


def _question(row: Example | Preference) -> str:
    """What the user said, in one normal form: by it a row falls on one side of the split."""
    messages = row.messages if isinstance(row, Example) else row.prompt
    return " ".join(" ".join(m.content.split()).casefold() for m in messages if m.role == "user")


def _unit_interval(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed alone, so equal questions fall on one side."""
    return int(value_sha256([seed, text])[:12], 16) / 16**12


def _behavior_counts(split: _Split) -> dict[str, dict[str, int]]:
    return {
        "train": dict(Counter(row.behavior for row in split.train)),
        "preferences": dict(Counter(row.behavior for row in split.preferences)),
    }


def _show(split: _Split, counts: Mapping[str, int]) -> None:
    table = _behavior_counts(split)
    show_table(
        "training data by behaviour of the (chosen) answer",
        ("", *BEHAVIORS, "rows"),
        [
            (name, *(str(table[name].get(behavior, 0)) for behavior in BEHAVIORS), str(sum(table[name].values())))
            for name in ("train", "preferences")
        ],
    )
    say(", ".join(f"{name} {count:,}" for name, count in counts.items()))
    if split.train and "tool_call" not in table["train"]:
        say("warning: no training example calls a tool; a model trained on these learns never to call")
    broken = sum(bool(_gold_problems(row)) for row in [*split.train, *split.preferences])
    if broken:
        say(f"warning: the gold call of {broken:,} rows does not fit its own tool's schema; they are kept")


def _gold_problems(row: Example | Preference) -> list[str]:
    answer: Message = row.messages[-1] if isinstance(row, Example) else row.chosen
    tools: tuple[Tool, ...] = row.tools
    return [problem for call in answer.tool_calls for problem in call_problems(call, tools)]
