"""What a run file may name, and the module behind the name: one of a family's own, or `package.module` of the user's.

A family says by a `Protocol` what each of its modules has: one that lacks a member is refused here, before it is used.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Annotated, Any, Generic, Protocol, TypeVar

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


class Configured(Protocol):
    """A module with keys in the run file, which every module of a family is."""

    @property
    def Settings(self) -> type[pydantic.BaseModel]:
        """The model of its own keys."""
        ...


Member = TypeVar("Member", bound=Configured)


@dataclass(frozen=True, slots=True)
class Family(Generic[Member]):
    """Modules of one kind, from which a run file chooses by name.

    `kind` is what one is called in messages; `protocol` declares, as properties and methods, what each module has;
    `modules` are calltune's own, from name to dotted path. A name that is not among them is the dotted path of a module
    of the user's.
    """

    kind: str
    protocol: type
    modules: Mapping[str, str]


def load_module(family: Family[Member], name: str, where: str) -> Member:
    """Return the module of a family that a run file names.

    Args:
        where: the run file's key that holds the name.

    Raises:
        ConfigError: there is no such module, it needs a package that is not installed, or it lacks what a module of the
            family has.
    """
    kind, path = family.kind, family.modules.get(name) or (name if "." in name else None)
    if path is None:
        raise ConfigError(f"{where}: {unknown_key(name, family.modules).replace('unknown key', f'unknown {kind}', 1)}")
    if not all(part.isidentifier() for part in path.split(".")):
        raise ConfigError(
            f"{where}: unknown {kind} '{name}': a module of your own goes by its dotted path, such as package.module"
        )
    try:
        module: Any = importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if name not in family.modules and (path == missing or path.startswith(f"{missing}.")):
            raise ConfigError(f"{where}: unknown {kind} '{name}': there is no module of that name") from None
        raise ConfigError(f"{where}: {kind} '{name}' needs the package '{missing}', which is not installed") from None
    if problem := _problem(family.protocol, module):
        raise ConfigError(f"{where}: '{name}' is no {kind}: {problem}")
    return module


def _problem(protocol: type, module: ModuleType) -> str:
    """What a module lacks of what a protocol declares, or an empty string."""
    declared = {name: value for name, value in vars(protocol).items() if not name.startswith("_")}
    held = vars(module)
    if absent := [name for name in declared if name not in held]:
        return f"it has no {', '.join(absent)}"
    settings = held["Settings"]
    if not (isinstance(settings, type) and issubclass(settings, pydantic.BaseModel)):
        return "its Settings is no pydantic model"
    wrong = [name for name, value in declared.items() if isinstance(value, FunctionType) and not callable(held[name])]
    return f"its {', '.join(wrong)} cannot be called" if wrong else ""


def open_entries(
    family: Family[Member], entries: Sequence[Entry], table: str, run_folder: Path
) -> list[tuple[Entry, Member, Any]]:
    """Return each entry of a run file's list with its module and its settings.

    The module's own `Settings` checks the settings.

    Args:
        table: what stands before the entry's number in messages, such as `data.sources`.
        run_folder: what `{run}` in a value stands for.

    Raises:
        ConfigError: a module is unknown or lacks a member, or a key of one is wrong.
    """
    opened = []
    for number, entry in enumerate(entries):
        module = load_module(family, entry.name, f"{table}.{number}")
        options = {
            key: value.replace("{run}", str(run_folder)) if isinstance(value, str) else value
            for key, value in entry.options.items()
        }
        # A source that makes its rows has a seed among its own settings, while the run file has one for every source.
        if isinstance(entry, SourceEntry) and entry.seed is not None and "seed" in module.Settings.model_fields:
            options["seed"] = entry.seed
        opened.append((entry, module, parse_options(module.Settings, options, f"{table}.{number} ({entry.name})")))
    return opened
