"""The run file that fits what an audit found: sizes, epochs and rates for this much data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calltune.config.data import DeriveConfig
from calltune.config.step_count import num_steps

MODEL = "Qwen/Qwen3-0.6B"
_DERIVED = 1.5
"""Rows that `[data.derive]` makes of a call that answers a user: 0.5 refusals, 0.3 questions back as logs allow, 0.5
plain answers, 0.2 with other tools."""
_PAIRS_WANTED = 400
_MOST_PAIRS = 4.0
_FEW = 1000
"""Rows below which none is held back to watch the loss."""

# By the number of rows below which they hold: rows in a step, epochs. Few rows come several times and in small steps,
# so that there are steps enough to learn by.
_SIZES = ((200, 4, 4), (1000, 8, 3), (10_000, 16, 2))
_MANY = (16, 1)
# By the number of steps below which it holds. Few steps need larger ones.
_RATES = {
    "sft": ((150, "1e-4"), (600, "5e-5"), (None, "2e-5")),
    "dpo": ((150, "2e-6"), (600, "1e-6"), (None, "5e-7")),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """How long a stage trains; `rows` are about as many as there will be."""

    name: str
    rows: int
    batch: int
    epochs: int

    @property
    def table(self) -> dict[str, Any]:
        """The keys that decide the number of steps."""
        at_once = min(self.batch, 4 if self.name == "sft" else 2)
        return {
            "num_train_epochs": self.epochs,
            "per_device_train_batch_size": at_once,
            "gradient_accumulation_steps": self.batch // at_once,
        }

    @property
    def steps(self) -> int:
        """Optimiser steps, on one device."""
        return num_steps(self.table, self.rows)

    @property
    def rate(self) -> str:
        """The learning rate, as it is written."""
        return next(rate for below, rate in _RATES[self.name] if below is None or self.steps < below)


@dataclass(frozen=True, slots=True)
class Fit:
    """What a run makes of the rows that were found; the numbers are about as they will be."""

    held_out: int
    """Conversations that are kept for questions."""
    deciding: int
    """Calls that answer a user, of those to train on."""
    pairs_per_call: float
    stages: tuple[Stage, ...]


def fitted(told: Mapping[str, Any]) -> Fit:
    """Return what fits an audit."""
    found, conversations = told["trainable"], told["conversations"]
    deciding = found["deciding_calls"]
    share = DeriveConfig().share_held_out(conversations) if deciding else 0.0
    kept = 1 - share
    deciding = round(deciding * kept)
    per_call = min(_MOST_PAIRS, max(1.0, round(_PAIRS_WANTED / deciding))) if deciding else 0.0
    sizes = {
        "sft": round(found["answers"] * kept + _DERIVED * deciding),
        "dpo": round(found["pairs"] * kept + per_call * deciding),
    }
    return Fit(
        round(conversations * share), deciding, per_call, tuple(_stage(*each) for each in sizes.items() if each[1])
    )


def _stage(name: str, rows: int) -> Stage:
    batch, epochs = next(((batch, epochs) for below, batch, epochs in _SIZES if rows < below), _MANY)
    return Stage(name, rows, batch, epochs)


def run_file(told: Mapping[str, Any], name: str, tools: str | None = None) -> str:
    """Return the text of a run file over the audited rows; every key says what it is.

    Args:
        name: the run's.
        tools: the tools for rows that name none.
    """
    fit = fitted(told)
    lines = [
        f"# {told['path']}: {summary(told)}.",
        f"# calltune check {name}.toml      what is wrong, and what is too little",
        f"# calltune run {name}.toml        everything; run again, it goes on where it stopped",
        *_keys(
            ("name", f'"{name}"', f"required: everything is written to runs/{name}"),
            ("model", f'"{MODEL}"', 'required: a Hub id or a local folder; larger: "Qwen/Qwen3-1.7B"'),
        ),
    ]
    if [stage.name for stage in fit.stages] != ["sft", "dpo"]:
        names = json.dumps([stage.name for stage in fit.stages], allow_nan=False)
        lines += _keys(("stages", names, 'there is nothing for the other; default ["sft", "dpo"]'))
    if sum(stage.rows for stage in fit.stages) < _FEW:
        lines += ["", "[data]"]
        lines += _keys(("validation_fraction", "0.0", "too few rows to hold some back for the loss; default 0.02"))
    lines += ["", "[[data.sources]]"]
    source = [
        ("name", '"auto"', "required: says what layout each file has, and reads it"),
        ("path", _text(told["path"]), "required: a file, or a folder with all its sub-folders"),
    ]
    if tools:
        source.append(("tools", _text(tools), "for rows that name no tools; default: none"))
    lines += _keys(*source)
    if fit.deciding:
        lines += [
            "",
            "[data.derive]                   # rows of the other behaviours, made from the calls; default none",
        ]
        held_out = (
            f"about {fit.held_out} of {told['conversations']:,} conversations become the test; or a share; default"
        )
        lines += _keys(
            ("held_out", '"auto"', f'{held_out} "auto"'),
            ("pairs", f"{fit.pairs_per_call:g}", "preference pairs for each call that answers a user; default 1.0"),
        )
    for stage in fit.stages:
        lines += ["", *_stage_lines(stage)]
    return "\n".join([*lines, "", *_benchmark_lines(bool(fit.deciding))]) + "\n"


def _stage_lines(stage: Stage) -> list[str]:
    is_sft, table = stage.name == "sft", stage.table
    what = "rows" if is_sft else "pairs"
    keys = [
        (
            "num_train_epochs",
            str(stage.epochs),
            f"times over about {stage.rows:,} {what}: {stage.steps:,} steps; default 3",
        ),
        (
            "per_device_train_batch_size",
            str(table["per_device_train_batch_size"]),
            f"{what} in memory at once; default 8",
        ),
        (
            "gradient_accumulation_steps",
            str(table["gradient_accumulation_steps"]),
            "times that many in a step; default 1",
        ),
        ("learning_rate", stage.rate, f"for that many steps; default {'2e-5' if is_sft else '1e-6'}"),
        ("lr_scheduler_type", '"cosine"', 'default "linear"'),
        ("warmup_steps", "0.1", "below 1 a share of all steps; default 0"),
    ]
    if not is_sft:
        keys += [
            ("beta", "0.1", "how strongly it is held to the SFT model; default 0.1"),
            ("loss_type", '["sigmoid", "bco_pair", "sft"]', 'MPO; default ["sigmoid"], which is plain DPO'),
            ("loss_weights", "[0.8, 0.2, 1.0]", "of each of these losses; default all 1"),
        ]
    config = "SFTConfig" if is_sft else "DPOConfig"
    return [f"[{stage.name}]                           # goes word for word to TRL's {config}", *_keys(*keys)]


def _benchmark_lines(has_test: bool) -> list[str]:
    """Return the benchmarks: questions of the run's own where some can be made, else those of When2Call."""
    path = '"{run}/data/test.jsonl"' if has_test else '"nvidia/When2Call"'
    means = "from your held-out conversations" if has_test else "from the Hub"
    lines = []
    for name, what in (
        ("when2call", "which of four written answers is the most likely"),
        ("when2call_generation", "what the model does when it writes freely"),
    ):
        lines += ["[[evaluate.benchmarks]]", *_keys(("name", f'"{name}"', f"required: {what}"))]
        lines += [*_keys(("path", path, f'{means}; default "nvidia/When2Call"')), ""]
    return lines[:-1]


def _keys(*keys: tuple[str, str, str]) -> list[str]:
    return [f"{f'{key} = {value}':<31} # {comment}" for key, value, comment in keys]


def _text(value: str) -> str:
    """Return a text as TOML writes it, which is JSON but for one control character."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def summary(told: Mapping[str, Any]) -> str:
    """Return what was found, in one line: `60 conversations, 6 tools, 1 broken row`."""
    broken, rows = told["unread"], told["rows"]
    conversations = _number(told["conversations"], "conversation")
    if told["conversations"] != rows - broken:
        # Who counts the own logs finds so many rows, and is told why fewer are spoken of below.
        conversations = f"{_number(rows, 'row')} ({conversations} that begin differently)"
    parts = [
        conversations,
        _number(len(told["tools"]), "tool"),
        _number(broken, "broken row") if broken else "no broken row",
    ]
    return ", ".join(parts)


def names_no_tools(told: Mapping[str, Any]) -> bool:
    """Return whether no row says which tools it was offered."""
    return not any(tool["offered"] for tool in told["tools"])


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s'[: count != 1]}"
