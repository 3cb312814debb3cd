"""What makes a stage's folder complete: `manifest.json`, written last, with the hashes of what went in and came out.

A stage is skipped when its manifest's inputs equal today's and its files are as they were sealed, resumed when it was
begun with today's inputs, and otherwise its old folder is moved aside (never deleted) and the stage starts anew.
"""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calltune import __version__
from calltune.calling.shipped import SHIPPED, shipped_sha256
from calltune.config.run_file import Config
from calltune.errors import RunFolderError
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.json_lines import json_text, write_json
from calltune.files.lock_file import LOCK
from calltune.files.seals import FileSeal, broken_seal, seal_files, sealed_sha256
from calltune.files.state import Inputs, Manifest, RunOwner, read_state
from calltune.runtime.terminal import say

MANIFEST = "manifest.json"

_BEGUN = "inputs.json"

_UNFINISHED = "checkpoints"
"""Removed once the manifest is there."""

_TOLD = ("history.json", "guard.json")
"""What a trainer and its guard noted: nothing is made of it but curves, and to train again for them takes hours."""

_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


def claim_run_folder(config: Config) -> Path:
    """Make the run's folder and write `config.json` into it.

    Raises:
        RunFolderError: the folder holds something that is not a run, a run of another model, or cannot be written.
    """
    folder = config.run_folder
    written = folder / "config.json"
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder}: is a file, the run's folder was expected")
    if written.exists():
        other = read_state(written, RunOwner)["model"]
        if other != config.model:
            raise RunFolderError(
                f"{folder}: belongs to a run of model '{other}', not '{config.model}'; give this run another name"
            )
    elif folder.exists() and any(path.name != LOCK for path in folder.iterdir()) and not _holds_stages(folder):
        raise RunFolderError(f"{folder}: is not empty and not a calltune run; give this run another name")
    write_json(written, config.model_dump(mode="json"), private=True)
    return folder


def _holds_stages(folder: Path) -> bool:
    """Whether stages were begun in a folder, as in a run's whose `config.json` was removed because it is damaged."""
    return any(any(folder.glob(f"{depth}/{_BEGUN}")) for depth in ("*", "eval/*/*"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a complete stage.

    Raises:
        RunFolderError: the stage is not complete, or the manifest is not of a stage.
    """
    return read_state(folder / MANIFEST, Manifest)


def is_complete(folder: Path, inputs: Mapping[str, Any], *files: str) -> bool:
    """Whether the stage in this folder was finished with exactly these inputs, and its files are as they were sealed.

    One line says which file is not. An older version sealed less, or nothing: then what it sealed is looked at.

    Args:
        files: those that must be there, sealed or not.
    """
    if not all((folder / name).exists() for name in (MANIFEST, *files)):
        return False
    manifest = read_manifest(folder)
    if manifest["inputs"] != json.loads(json_text(inputs)):
        return False
    seals = _seals(manifest)
    told = {name: seals.pop(name) for name in list(seals) if name in _TOLD}
    if problem := broken_seal(folder, seals):
        say(f"{folder}: {problem}: it is not as it was sealed, so the stage is not complete")
        return False
    if problem := broken_seal(folder, told):
        say(f"{folder}: {problem}: the report leaves its curves out; the stage is complete all the same")
    return True


def broken(folder: Path, *files: str) -> str | None:
    """What of a complete stage's folder is not as it was sealed, such as `scores.jsonl was altered`; None when all is.

    Args:
        files: those to look at; by default all.

    Raises:
        RunFolderError: the stage is not complete.
    """
    seals = _seals(read_manifest(folder))
    return broken_seal(folder, {name: seal for name, seal in seals.items() if not files or name in files})


def require_sealed(folder: Path, *files: str) -> None:
    """Refuse what a complete stage holds when it is not as it was sealed; what an older version did not seal is taken.

    Args:
        files: those to look at; by default all but those that are only told.

    Raises:
        RunFolderError: the stage is not complete, or one of the files is missing or altered.
    """
    seals = _seals(read_manifest(folder))
    asked = {name: seal for name, seal in seals.items() if (name in files if files else name not in _TOLD)}
    if problem := broken_seal(folder, asked):
        raise RunFolderError(f"{folder}: {problem}: it is not as it was sealed; run the stage that made it again")


def begin(folder: Path, inputs: Mapping[str, Any], *, keep_files: bool = False) -> str | None:
    """Make a stage's folder ready to be written, keeping what an interrupted run with the same inputs left.

    Args:
        keep_files: whether the files of a stage that was complete, but is not as it was sealed, stay; else they are
            moved aside.

    Returns:
        A sentence for the user when an older folder was moved aside, else None.
    """
    begun = folder / _BEGUN
    inputs = json.loads(json_text(inputs))
    moved = None
    if folder.exists():
        old = read_state(begun, Inputs) if begun.exists() else {}
        if old != inputs or ((folder / MANIFEST).exists() and not keep_files):
            moved = set_aside(folder, old, inputs)
    (folder / MANIFEST).unlink(missing_ok=True)
    write_json(begun, inputs, private=True)
    return moved


def set_aside(folder: Path, old: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Rename a folder that was made from other inputs, or was altered since; a sentence for the user."""
    aside = _free_name(folder)
    folder.rename(aside)
    changed = sorted(key for key in {*old, *inputs} if old.get(key) != inputs.get(key)) or ["its files"]
    return f"{folder.name}: {', '.join(changed)} changed since it was made; the old one is kept as {aside.name}"


def finish(folder: Path, inputs: Mapping[str, Any], **facts: Any) -> None:
    """Write the manifest: the stage is complete, and all that its folder holds is sealed.

    Args:
        facts: what a reader wants to know: counts, seconds.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder) for path in files]
    # A hidden file is what a killed process had not written to its end.
    ours = [str(n) for n in names if n.parts[0] not in (MANIFEST, _BEGUN, _UNFINISHED) and n.name[0] != "."]
    seals = seal_files(folder, ours)
    sealed = {
        "sha256": {name: seal.sha256 for name, seal in seals.items()},
        "bytes": {name: seal.num_bytes for name, seal in seals.items()},
        "mtime_ns": {name: seal.mtime_ns for name, seal in seals.items() if seal.mtime_ns is not None},
    }
    stage = {"stage": folder.name, "inputs": dict(inputs)}
    write_json(folder / MANIFEST, {**stage, **facts, **sealed, "versions": versions()}, private=True)


def _seals(manifest: Mapping[str, Any]) -> dict[str, FileSeal]:
    sizes, times = manifest["bytes"], manifest["mtime_ns"]
    return {name: FileSeal(sha256, sizes.get(name), times.get(name)) for name, sha256 in manifest["sha256"].items()}


def model_sha256(model: str) -> str:
    """What identifies a model: the hash of a local folder's files, or the Hub id itself.

    Only the folder's own files count, not its subfolders, where training keeps its checkpoints. Of a complete stage's
    big files that are as they were sealed the seal's hash is taken.

    Raises:
        RunFolderError: it is a stage's folder, and one of the files is not as it was sealed.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    own = {_BEGUN, MANIFEST, *_TOLD}
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in own)
    # A manifest may lie in a base model's folder too, of whatever kind.
    is_stage = (folder / MANIFEST).exists() and (folder / _BEGUN).exists()
    seals = _seals(read_manifest(folder)) if is_stage else {}
    hashes = {path.name: sealed_sha256(path, seals.get(path.name)) for path in files}
    for name, seal in seals.items():
        if "/" not in name and name not in own and hashes.get(name) != seal.sha256:
            what = "was altered" if name in hashes else "is missing"
            raise RunFolderError(f"{folder}: {name} {what}: it is not as it was sealed; run {folder.name} again")
    return value_sha256(hashes)


def template_sha256(config: Config) -> str | None:
    """What identifies the chat template that the run file names; None when the model's own is used."""
    if config.chat_template in SHIPPED:
        return shipped_sha256(config.chat_template)
    path = config.chat_template and Path(config.chat_template)
    return file_sha256(path) if path and path.is_file() else None


def tokenizer_sha256(model: str) -> str:
    """What identifies a model's tokenizer and chat template: the hash of their files, or the Hub id itself."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    kinds = ("tokenizer*", "chat_template*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges*")
    files = sorted({path for kind in kinds for path in folder.glob(kind) if path.is_file()})
    return value_sha256({path.name: file_sha256(path) for path in files})


def versions() -> dict[str, str]:
    """Versions of calltune, Python and the libraries that decide results."""
    found = {"calltune": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _free_name(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    return aside
