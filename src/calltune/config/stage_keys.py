"""The keys of `[sft]`, `[dpo]`, `[grpo]` and `[lora]`, which go word for word to TRL and PEFT, without importing these.

`trl_keys.json` holds the keys of the versions that calltune is made for, each with its type where that is a plain one.
A test compares it with the real classes; `tests/material/trl_keys.py` writes it.
"""

import json
from collections.abc import Collection, Mapping
from functools import cache, reduce
from importlib import metadata
from operator import or_
from pathlib import Path
from types import NoneType
from typing import Any

import pydantic

from calltune.config.table import unknown_key
from calltune.errors import ConfigError

OURS = {
    "output_dir": "the run file's 'output' and 'name' say where",
    "resume_from_checkpoint": "an interrupted stage resumes by itself",
    "report_to": "[tracking] says where metrics go",
    "disable_tqdm": "calltune shows the progress",
    "max_seq_length": "TRL calls it max_length",
    "trust_remote_code": "code from the Hub is never run",
    "logging_nan_inf_filter": "a loss that is no number ends the stage, and is never replaced by another",
}
"""Keys of the stages' tables that calltune sets, each with the reason why a run file may not."""

TABLES = ("sft", "dpo", "grpo", "lora")
KEYS_FILE = Path(__file__).parent / "trl_keys.json"

_PLAIN: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "NoneType": NoneType}


def check_tables(tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Check the keys, and the types of plain values, of these tables.

    Where another version of TRL, transformers or PEFT is installed than the one whose keys are known, nothing is
    refused here: its own classes are asked before a stage begins.

    Raises:
        ConfigError: an unknown key (the nearest is named), one that is calltune's, or a value of a wrong type.
    """
    if not any(tables.get(name) for name in TABLES):
        return
    known = json.loads(KEYS_FILE.read_bytes())
    if any(_installed(package) not in ("", version) for package, version in known["versions"].items()):
        return
    for name in TABLES:
        check_keys(name, tables.get(name, {}), known["keys"][name])
    check_losses(tables.get("dpo", {}), known["losses"])
    check_loss(tables.get("grpo", {}), known["grpo_losses"])


def check_losses(table: Mapping[str, Any], known: Collection[str] = ()) -> None:
    """Check `loss_type` of `[dpo]`: TRL's class takes anything there, and its trainer fails at the first step.

    Args:
        known: the losses that there are; without any, only what is no list of losses is refused.

    Raises:
        ConfigError: it is no loss and no list of some, or a loss is unknown.
    """
    if "loss_type" not in table:
        return
    value = table["loss_type"]
    losses = value if isinstance(value, list) else [value]
    if not losses or not all(isinstance(loss, str) for loss in losses):
        raise ConfigError(f"'dpo.loss_type': a loss or a list of some was expected, not {value!r}")
    for loss in losses:
        if known and loss not in known:
            raise ConfigError(f"'dpo.loss_type': {unknown_key(loss, known).replace('unknown key', 'unknown loss', 1)}")


def check_loss(table: Mapping[str, Any], known: Collection[str]) -> None:
    """Check `loss_type` of `[grpo]`, which TRL's trainer looks at when the first answers are drawn.

    Raises:
        ConfigError: there is no such loss.
    """
    if "loss_type" in table and table["loss_type"] not in known:
        problem = unknown_key(str(table["loss_type"]), known).replace("unknown key", "unknown loss", 1)
        raise ConfigError(f"'grpo.loss_type': {problem}")


def check_keys(table: str, given: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
    """Check a table against the keys of a class.

    Args:
        kinds: by key its type, such as `float | NoneType`; an empty text where it is no plain one, of which TRL and
            PEFT take more than they declare.

    Raises:
        ConfigError: as `check_tables` says.
    """
    for key, value in given.items():
        if table != "lora" and key in OURS:
            raise ConfigError(f"'{table}.{key}' cannot be set: {OURS[key]}")
        if key not in kinds:
            raise ConfigError(unknown_key(f"{table}.{key}", kinds))
        if not kinds[key]:
            continue
        try:
            _checker(kinds[key]).validate_python(value)
        except pydantic.ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise ConfigError(f"'{table}.{key}': {problem[0].lower()}{problem[1:]}, not {value!r}") from None


def plain_kind(types: tuple[Any, ...]) -> str:
    """Return a type, or those of a union, as `trl_keys.json` has them; an empty text where one is no plain one."""
    names = {kind: name for name, kind in _PLAIN.items()}
    return " | ".join(names[kind] for kind in types) if all(kind in names for kind in types) else ""


@cache
def _checker(kind: str) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(reduce(or_, (_PLAIN[name] for name in kind.split(" | "))))


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
