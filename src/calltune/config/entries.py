"""The modules that a run file may name: those in a family's dict of names, or `package.module` for one's own."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pydantic

from calltune.config.table import parse_options, unknown_key
from calltune.errors import ConfigError


class Entry(pydantic.BaseModel):
    """One entry of a family (a source, a benchmark): its module's name, and that module's own keys."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)

    name: str
    """A module of the family, or `package.module` for one of your own. `{run}` in a value is the run's folder."""

    label: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """The name of its results, for a module that is used twice. By default it is the module's name."""

    @property
    def title(self) -> str:
        """The label if there is one, else the name."""
        return self.label or self.name

    @property
    def options(self) -> dict[str, Any]:
        """The module's own keys, which the module's `Settings` checks."""
        return dict(self.model_extra or {})


class SourceEntry(Entry):
    """One of `[[data.sources]]`. These keys hold for every source."""

    weight: Annotated[float, pydantic.Field(gt=0)] = 1.0
    """Below 1, the share of its rows that is kept; above 1, how often each row is written (2.5 writes each twice, and
    half of them once more)."""

    limit: Annotated[int, pydantic.Field(gt=0)] | None = None
    """How many rows are taken, from the beginning."""

    seed: int | None = None
    """The seed that chooses the rows which `weight` keeps or repeats; by default it is the run's. A source that makes
    its rows takes it too."""


def load_module(kind: str, known: Mapping[str, str], name: str, where: str) -> ModuleType:
    """Return the module of a family that a run file names.

    Args:
        kind: what the family's members are called in messages: `source`, `benchmark`, `backend`.
        known: the family's dict, from name to module path.
        name: a key of `known`, or the dotted path of a module of the user's own.
        where: the run file's key that holds the name.

    Raises:
        ConfigError: there is no such module, or it needs a package that is not installed.
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
    """Return each entry of a run file's list with its module and its settings.

    The module's own `Settings` checks the settings.

    Args:
        table: what stands before the entry's number in messages, such as `data.sources`.
        run_folder: what `{run}` in a value stands for.

    Raises:
        ConfigError: a module is unknown, or a key of one is wrong.
    """
    opened = []
    for number, entry in enumerate(entries):
        module = load_module(kind, known, entry.name, f"{table}.{number}")
        options = {
            key: value.replace("{run}", str(run_folder)) if isinstance(value, str) else value
            for key, value in entry.options.items()
        }
        # A source that makes its rows has a seed among its own settings, while the run file has one for every source.
        if isinstance(entry, SourceEntry) and entry.seed is not None and "seed" in module.Settings.model_fields:
            options["seed"] = entry.seed
        opened.append((entry, module, parse_options(module.Settings, options, f"{table}.{number} ({entry.name})")))
    return opened
