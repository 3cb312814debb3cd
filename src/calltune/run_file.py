"""The run file: TOML in, one frozen `Config` out, every mistake one line."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calltune.config import Config
from calltune.errors import ConfigError
from calltune.options import parse_options


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a run file, lay `key.path=value` overrides over it, and check it.

    TOML is for hands; `.json` is what calltune writes of a checked run file, such as `config.json` in a run's folder.

    Raises:
        ConfigError: the file is missing, is not TOML, or a key or value is wrong; names the file and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such run file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder, a run file was expected") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    for override in overrides:
        _apply_override(table, override)
    return parse_options(Config, table, str(path))


def _apply_override(table: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"override '{override}': must be key.path=value")
    *parents, last = path.strip().split(".")
    place: Any = table
    for part in parents:
        if isinstance(place, dict):
            place = place.setdefault(part, {})
        elif isinstance(place, list) and part.isdigit() and int(part) < len(place):
            place = place[int(part)]
        else:
            raise ConfigError(f"override '{override}': there is no '{part}' to go into")
    if isinstance(place, list) and last.isdigit() and int(last) < len(place):
        place[int(last)] = _toml_value(text)
    elif isinstance(place, dict):
        place[last] = _toml_value(text)
    else:
        raise ConfigError(f"override '{override}': there is no '{last}' to set")


def _toml_value(text: str) -> Any:
    # The shell takes the quotes of "a string" away, so what is not TOML is a string.
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
