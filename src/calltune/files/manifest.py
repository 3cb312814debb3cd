"""What makes a stage's folder complete: `manifest.json`, written last, holding the hashes of all that went in.

A stage is skipped when its manifest's inputs equal today's, resumed when it was begun with today's inputs, and
otherwise its old folder is moved aside (never deleted) and the stage starts anew.
"""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calltune import __version__
from calltune.config.run_file import Config
from calltune.errors import RunFolderError
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.json_lines import json_text, read_json, write_json
from calltune.files.lock_file import LOCK

MANIFEST = "manifest.json"

_BEGUN = "inputs.json"

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
        other = read_json(written)["model"]
        if other != config.model:
            raise RunFolderError(
                f"{folder}: belongs to a run of model '{other}', not '{config.model}'; give this run another name"
            )
    elif folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise RunFolderError(f"{folder}: is not empty and not a calltune run; give this run another name")
    write_json(written, config.model_dump(mode="json"), private=True)
    return folder


def is_complete(folder: Path, inputs: Mapping[str, Any], *files: str) -> bool:
    """Whether the stage in this folder was finished with exactly these inputs, and still has these files."""
    if not all((folder / name).exists() for name in (MANIFEST, *files)):
        return False
    return read_json(folder / MANIFEST)["inputs"] == json.loads(json_text(inputs))


def begin(folder: Path, inputs: Mapping[str, Any]) -> str | None:
    """Make a stage's folder ready to be written, keeping what an interrupted run with the same inputs left.

    Returns:
        A sentence for the user when an older folder was moved aside, else None.
    """
    begun = folder / _BEGUN
    inputs = json.loads(json_text(inputs))
    moved = None
    if folder.exists():
        old = read_json(begun) if begun.exists() else {}
        if old != inputs:
            moved = set_aside(folder, old, inputs)
    (folder / MANIFEST).unlink(missing_ok=True)
    write_json(begun, inputs, private=True)
    return moved


def set_aside(folder: Path, old: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Rename a folder that was made from other inputs; a sentence for the user."""
    aside = _free_name(folder)
    folder.rename(aside)
    changed = sorted(key for key in {*old, *inputs} if old.get(key) != inputs.get(key))
    return f"{folder.name}: {', '.join(changed)} changed since it was made; the old one is kept as {aside.name}"


def finish(folder: Path, inputs: Mapping[str, Any], **facts: Any) -> None:
    """Write the manifest: the stage is complete. `facts` are what a reader wants to know: counts, seconds, hashes."""
    write_json(
        folder / MANIFEST, {"stage": folder.name, "inputs": dict(inputs), **facts, "versions": versions()}, private=True
    )


def model_sha256(model: str) -> str:
    """What identifies a model: the hash of a local folder's files, or the Hub id itself.

    Only the folder's own files count, not its subfolders, where training keeps its checkpoints.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    own = {_BEGUN, MANIFEST, "history.json"}
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in own)
    return value_sha256({path.name: file_sha256(path) for path in files})


def template_sha256(config: Config) -> str | None:
    """What identifies the chat template that the run file names; None when the model's own is used."""
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
