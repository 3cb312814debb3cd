"""Families of modules of one shape: a dict of names, and `package.module` for one that the user wrote."""

import importlib
from collections.abc import Mapping
from types import ModuleType

from calltune.config import unknown_key
from calltune.errors import ConfigError


def load_module(kind: str, known: Mapping[str, str], name: str) -> ModuleType:
    """The module of a family that a run file names.

    Args:
        kind: what the family's members are called in messages: `source`, `benchmark`, `backend`.
        known: the family's dict, from name to module path.
        name: a key of `known`, or the dotted path of a module of the user's own.

    Raises:
        ConfigError: there is no such module.
    """
    path = known.get(name) or (name if "." in name else None)
    if path is None:
        raise ConfigError(unknown_key(name, known).replace("unknown key", f"unknown {kind}", 1))
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if name not in known and (path == missing or path.startswith(f"{missing}.")):
            raise ConfigError(f"unknown {kind} '{name}': there is no module of that name") from None
        raise ConfigError(f"{kind} '{name}' needs the package '{missing}', which is not installed") from None
