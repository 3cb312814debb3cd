"""Families of modules of one shape: a dict of names, and `package.module` for one that the user wrote."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from calltune.config import Entry, SourceEntry
from calltune.errors import ConfigError
from calltune.options import parse_options, unknown_key


def load_module(kind: str, known: Mapping[str, str], name: str, where: str) -> ModuleType:
    """The module of a family that a run file names.

    Args:
        kind: what the family's members are called in messages: `source`, `benchmark`, `backend`.
        known: the family's dict, from name to module path.
        name: a key of `known`, or the dotted path of a module of the user's own.
        where: the run file's key that holds the name.

    Raises:
        ConfigError: there is no such module.
    """
    path = known.get(name) or (name if "." in name else None)
    if path is None:
        raise ConfigError(f"{where}: {unknown_key(name, known).replace('unknown key', f'unknown {kind}', 1)}")
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if name not in known and (path == missing or path.startswith(f"{missing}.")):
            raise ConfigError(f"{where}: unknown {kind} '{name}': there is no module of that name") from None
        raise ConfigError(f"{where}: {kind} '{name}' needs the package '{missing}', which is not installed") from None


def open_entries(
    kind: str, known: Mapping[str, str], entries: Sequence[Entry], table: str, run_folder: Path
) -> list[tuple[Entry, ModuleType, Any]]:
    """Each entry of a run file's list with its module and its settings, checked by the module's own `Settings`.

    Args:
        table: what stands before the entry's number in messages, such as `data.sources`.
        run_folder: what `{run}` in a value stands for.

    Raises:
        ConfigError: an unknown module, or a wrong key of one.
    """
    opened = []
    for number, entry in enumerate(entries):
        module = load_module(kind, known, entry.name, f"{table}.{number}")
        options = {
            key: value.replace("{run}", str(run_folder)) if isinstance(value, str) else value
            for key, value in entry.options.items()
        }
        # A source that makes its rows has a seed of its own; the run file has one for every source.
        if isinstance(entry, SourceEntry) and entry.seed is not None and "seed" in module.Settings.model_fields:
            options["seed"] = entry.seed
        opened.append((entry, module, parse_options(module.Settings, options, f"{table}.{number} ({entry.name})")))
    return opened
