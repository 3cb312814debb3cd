"""Read what of this machine jobs need beside calltune: modules of one's own, the template, Spectrum's lists.

Sources run here, in `prepare`, and what they gave is sent as rows; so a source of one's own needs no sending.
"""

import hashlib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from calltune.calling.shipped import SHIPPED
from calltune.config.run_file import Config
from calltune.config.stages import STAGES
from calltune.errors import ConfigError
from calltune.files.hashes import value_sha256
from calltune.launch.sagemaker.archive import SCRIPTS

_FOLDER = "sent"
_TAKEN = {"calltune", "config.json", "constraints.txt", "needs.json", "requirements.txt", *SCRIPTS}
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """Holds files by their names in the archive, names by the run file's keys, and modules by such keys."""

    files: Mapping[str, bytes]
    named: Mapping[str, str]
    modules: Mapping[str, str]

    def sha256_of(self, key: str) -> str | None:
        """Return the hash of the file that a key of the run file names; None where it names none."""
        return hashlib.sha256(self.files[self.named[key]]).hexdigest() if key in self.named else None

    @property
    def code_sha256(self) -> str | None:
        """Return the hash of all that the modules' packages hold; None without a module of one's own."""
        code = {name: hashlib.sha256(content).hexdigest() for name, content in self._code()}
        return value_sha256(code) if code else None

    def _code(self) -> Iterator[tuple[str, bytes]]:
        places = set(self.named.values())
        return ((name, content) for name, content in self.files.items() if name not in places)


def own_files(config: Config) -> OwnFiles:
    """Read what the jobs need of this machine's files beside the data, the model and the benchmarks' questions.

    Raises:
        ConfigError: a file or a module is not there, or the run file names one that is not sent.
    """
    _require_no_others(config)
    files, named = {}, {}
    for key, path in _files_named(config):
        named[key] = name = _name_of(key, Path(path))
        try:
            files[name] = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"'{key}': {path}: {error.strerror}") from None
    modules = dict(_modules_named(config))
    for key, path in modules.items():
        files |= _package_files(key, path, _imported(key, path))
    if (size := sum(map(len, files.values()))) > _MOST_BYTES:
        raise ConfigError(
            f"{', '.join(modules)}: the packages of your own hold {size / 2**20:,.0f} MiB, more than "
            f"{_MOST_BYTES / 2**20:.0f}; give a benchmark its data by 'path'"
        )
    return OwnFiles(files, named, modules)


def as_sent(table: dict[str, Any], own: OwnFiles) -> dict[str, Any]:
    """Put into a run file's table the names that its files have in the archive, where a job looks for them."""
    for key, name in own.named.items():
        place = table
        *parents, last = key.split(".")
        for part in parents:
            place = place[part]
        place[last] = name
    return table


def _files_named(config: Config) -> Iterator[tuple[str, str]]:
    if config.chat_template and config.chat_template not in SHIPPED:
        yield "chat_template", config.chat_template
    tables = {"tuning": config.tuning} | {f"tuning.{stage}": getattr(config.tuning, stage) for stage in STAGES}
    for key, tuning in tables.items():
        if tuning and tuning.spectrum_file:
            yield f"{key}.spectrum_file", tuning.spectrum_file


def _name_of(key: str, path: Path) -> str:
    """Return a file's name in the archive.

    It is the run file's own name for it where that leads into the archive: then a stage's inputs are the same as here.
    """
    if path.is_absolute() or ".." in path.parts or path.parts[0] in _TAKEN:
        return f"{_FOLDER}/{key.replace('.', '-')}{path.suffix}"
    return path.as_posix()


def _modules_named(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what jobs import of one's own; calltune's modules are in the archive already."""
    if not config.evaluate.benchmarks:
        return
    names = {f"evaluate.benchmarks.{n}": entry.name for n, entry in enumerate(config.evaluate.benchmarks)}
    for key, name in {**names, "evaluate.backend": config.evaluate.backend}.items():
        if "." in name and name.partition(".")[0] != "calltune":
            yield key, name


def _imported(key: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{key}: '{path}' cannot be imported: {error}") from None


def _package_files(key: str, path: str, module: ModuleType) -> dict[str, bytes]:
    """Read all files of the package that a module is in; their names begin with the package's."""
    if module.__file__ is None:
        raise ConfigError(f"{key}: '{path}' has no file that could be sent")
    place = Path(module.__file__)
    depth = path.count(".") - (0 if place.name == "__init__.py" else 1)
    package = place.parents[depth]
    return {
        f"{package.name}/{file.relative_to(package).as_posix()}": file.read_bytes()
        for file in sorted(package.rglob("*"))
        if file.is_file() and file.suffix != ".pyc" and not _is_hidden(file.relative_to(package))
    }


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _require_no_others(config: Config) -> None:
    """Refuse a file that TRL's own keys name: it would be missing in the job, or another one."""
    for stage in config.stages:
        for key, value in getattr(config, stage).items():
            if isinstance(value, str) and Path(value).is_file():
                raise ConfigError(f"'{stage}.{key}' names a file of this machine, {value}, which is not sent to jobs")
