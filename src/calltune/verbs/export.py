"""`calltune export`: the run's last checkpoint as a folder to hand on, after proof that it still is that checkpoint.

The folder is built beside its place and renamed last: under its final name there is a checked model or none.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import yaml

from calltune.calling.chat import Chat
from calltune.calling.serving import serving
from calltune.config.model_name import model_name
from calltune.config.outcome import ExportConfig
from calltune.config.run_file import Config
from calltune.config.stages import stage_of
from calltune.data.preparation import open_sources
from calltune.deciding.making import decision_folder, usable_decision
from calltune.errors import ConfigError, RunFolderError
from calltune.evaluation.decisions import FILE
from calltune.files.handed_on import ReportFile
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.manifest import (
    MANIFEST,
    claim_run_folder,
    finish,
    is_complete,
    model_sha256,
    read_manifest,
    set_aside,
    versions,
)
from calltune.files.registry import track_export
from calltune.files.state import TrainedManifest, read_state
from calltune.models.gguf_packages import require_packages
from calltune.models.load import load_tokenizer, stored_dtype
from calltune.models.parity import Parity
from calltune.report.beside import kept_by_guard
from calltune.report.card import CardFacts, DataFile, TrainedStage, model_card
from calltune.report.decide_snippet import decide_snippet
from calltune.report.results import Result, read_result
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.training.export import build_export
from calltune.verbs import export_gguf

_LICENSE_KEYS = ("license", "license_name", "license_link")


def run(config: Config) -> Path:
    """Write the checkpoint's weights, tokenizer, template, generation settings and model card, and check them.

    Returns:
        The export's folder. It is left as it is when complete and unchanged.

    Raises:
        CalltuneError: nothing is trained yet, the folder is not an export, or the export is another model than the
            checkpoint; then nothing is left under the folder's name.
    """
    settings = config.export or ExportConfig()
    folder = Path(settings.folder) if settings.folder else config.run_folder / "export"
    if processes().rank > 0:
        return folder
    checkpoint = _checkpoint(config, settings)
    require_packages(settings.gguf)
    claim_run_folder(config)
    stage = str(config.run_folder / checkpoint)
    stored = stored_dtype(stage) or torch.float32
    dtype = getattr(torch, settings.dtype) if settings.dtype else stored
    facts = _facts(config, checkpoint, str(dtype).removeprefix("torch."))
    inputs = {
        "model": model_sha256(stage),
        "settings": value_sha256([settings.max_shard_size, str(dtype)]),
        "card": value_sha256({**asdict(facts), "dtype": ""}),
    }
    decision = _decision_file(config, checkpoint)
    if decision:
        inputs["decision"] = file_sha256(decision)
    if folder.exists() and not _is_export(folder):
        raise RunFolderError(f"{folder}: is there already and no export of calltune's; name another [export] folder")
    if is_complete(folder, inputs):
        say("export: complete and unchanged, skipped")
        _track(config, folder, checkpoint, inputs)
        export_gguf.run(config, settings, folder, facts)
        return folder
    if folder.exists():
        say(set_aside(folder, read_manifest(folder)["inputs"], inputs))
    has_plain_base = config.tuning.of(stage_of(checkpoint)).method == "lora"
    base = config.checkpoint_folder(config.trained_from(checkpoint)) if has_plain_base else None
    # Named as the folder will be; the dot says that it is not whole.
    work = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    built = work / folder.name
    try:
        parity = build_export(Path(stage), base, dtype, stored, settings.max_shard_size, built)
        if decision:
            shutil.copy(decision, built / FILE)
        _describe(facts, parity, Chat(load_tokenizer(stage), stage), built, inputs)
        built.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"written: {folder}")
    line = serving(Chat(load_tokenizer(str(folder)), str(folder)), str(folder), facts.thinking)
    say(f"export: serve it with: {line.command}")
    if line.note:
        say(f"export: {line.note}")
    _track(config, folder, checkpoint, inputs)
    export_gguf.run(config, settings, folder, facts)
    return folder


def _track(config: Config, folder: Path, checkpoint: str, inputs: Mapping[str, str]) -> None:
    # A card that tells more makes no other model.
    track_export(config, folder, checkpoint, value_sha256([inputs["model"], inputs["settings"]]))


def _is_export(folder: Path) -> bool:
    try:
        return "parity" in read_manifest(folder)
    except RunFolderError:
        return False


def _checkpoint(config: Config, settings: ExportConfig) -> str:
    """The checkpoint that the run file names, or the last complete one."""
    trained = config.checkpoints[1:]
    asked = (settings.checkpoint,) if settings.checkpoint else trained[::-1]
    if settings.checkpoint and settings.checkpoint not in trained:
        raise ConfigError(f"'export.checkpoint' is '{settings.checkpoint}', which is not among what this run trains")
    found = [name for name in asked if (config.run_folder / name / MANIFEST).exists()]
    if not found:
        raise RunFolderError(f"{config.run_folder}: holds no complete {' or '.join(asked) or 'stage'} to export yet")
    return found[0]


def _decision_file(config: Config, checkpoint: str) -> Path | None:
    """What `calltune decide` made of the checkpoint as it is now; None where it cannot be used, or was not asked."""
    return decision_folder(config, checkpoint) / FILE if usable_decision(config, checkpoint) else None


def _describe(facts: CardFacts, parity: Parity, chat: Chat, built: Path, inputs: Mapping[str, Any]) -> None:
    line = serving(chat, built.name, facts.thinking)
    decides = decide_snippet(built.name) if (built / FILE).exists() else ""
    card = model_card(facts, line.command, line.note, parity.sentence(), versions(), decides)
    (built / "README.md").write_text(card, encoding="utf-8")
    for path in built.iterdir():
        # safetensors makes its files readable for their owner alone; a server may be another user.
        path.chmod((built / "README.md").stat().st_mode)
    finish(
        built,
        inputs,
        checkpoint=facts.checkpoint,
        dtype=facts.dtype,
        parity={key: value for key, value in asdict(parity).items() if key != "problem"},
        serve=line.command,
    )
    (built / MANIFEST).chmod((built / "README.md").stat().st_mode)


def _facts(config: Config, checkpoint: str, dtype: str) -> CardFacts:
    run = config.run_folder
    trained = config.checkpoints[1 : config.checkpoints.index(checkpoint) + 1]
    stages = [stage for stage in config.stages if stage in trained]
    mine = config.mine if "dpo" in stages else None
    mined = [name.replace("dpo", "mined") for name in trained if stage_of(name) == "dpo"] if mine else []
    sources = [
        (entry.name, str(getattr(settings, "path", "")) or "made by calltune")
        for entry, _, settings in open_sources(config)
    ]
    results = [result for name in ("base", *trained) for result in _results(config, name)]
    return CardFacts(
        name=config.name,
        base=_public(model_name(config.model)),
        base_card=base_card(config.model),
        checkpoint=checkpoint,
        dtype=dtype,
        method=" then ".join(dict.fromkeys(config.tuning.of(stage_of(name)).method for name in trained)),
        datasets=sorted({origin for _, origin in sources if origin.count("/") == 1 and _public(origin) == origin}),
        sources=[(name, _public(origin)) for name, origin in sources],
        files=[file for name in ("data", *mined) for file in _data_files(run / name)],
        recipe={
            "seed": config.seed,
            "tuning": config.tuning.model_dump(mode="json"),
            **({"mine": mine.model_dump(mode="json")} if mine else {}),
            **({"guard": config.guard.model_dump(mode="json")} if config.guard.keeps_best else {}),
            **({"chat": config.chat.model_dump(mode="json")} if config.chat.thinking != "off" else {}),
            **{name: table for name in ("lora", *stages) if (table := getattr(config, name))},
        },
        stages={name: _trained(run / name) for name in trained},
        results=results,
        verdict=_verdict(config, checkpoint, results),
    )


def _results(config: Config, checkpoint: str) -> list[Result]:
    """Every result of a checkpoint as it is now, none of one that it was before it was trained anew."""
    folders = [config.run_folder / "eval" / checkpoint / title for title in config.benchmark_titles]
    measured = [folder for folder in folders if (folder / MANIFEST).exists()]
    now = model_sha256(config.checkpoint_folder(checkpoint)) if measured else ""
    return [read_result(folder) for folder in measured if read_manifest(folder)["inputs"].get("model") == now]


def _verdict(config: Config, checkpoint: str, results: Sequence[Result]) -> str:
    """What the report says, where it is about these results; a line tells when it names a better checkpoint."""
    path = config.run_folder / "report.json"
    report = read_state(path, ReportFile) if path.is_file() else {}
    verdict = report.get("verdict")
    if not verdict or not verdict["title"]:
        return ""
    reported = {(row["benchmark"], row["checkpoint"]): row["metrics"] for row in report["results"]}
    if any(reported.get((r.benchmark, r.checkpoint)) != r.metrics for r in results):
        return ""
    if verdict["better"] and checkpoint == verdict["after"]:
        say(
            f"warning: export: this is {checkpoint}, but the report says: {verdict['title']}; "
            f"export.checkpoint={verdict['better']} exports the better one"
        )
    return f"The report's verdict on {verdict['after']}: {verdict['title']}. {verdict['reason']}"


def _trained(stage: Path) -> TrainedStage:
    manifest = read_state(stage / MANIFEST, TrainedManifest)
    return TrainedStage(manifest["counts"], manifest["steps"], manifest["trainable_share"], kept_by_guard(manifest))


def _data_files(data: Path) -> list[DataFile]:
    found = []
    for path in sorted(data.glob("*.jsonl")):
        with path.open("rb") as lines:
            count = sum(1 for _ in lines)
        if count:
            found.append(DataFile(f"{data.name}/{path.name}", count, file_sha256(path)))
    return found


def _public(name: str) -> str:
    """A Hub id as it is; of a path the last part, as the rest speaks of this machine."""
    path = Path(name)
    return path.name if path.exists() or path.is_absolute() or name.startswith(".") else name


def base_card(model: str) -> dict[str, Any]:
    """What the base's own card says of its licence, and its Hub id; nothing where nothing is known."""
    local = Path(model).is_dir()
    found: dict[str, Any] = {} if local else {"base_model": model}
    try:
        card = Path(model) / "README.md" if local else Path(huggingface_hub.hf_hub_download(model, "README.md"))
        front = huggingface_hub.metadata_load(card) if card.exists() else None
    except (OSError, ValueError, yaml.YAMLError):
        front = None
    front = front or {}
    keys = (*_LICENSE_KEYS, "base_model") if local else _LICENSE_KEYS
    return {**found, **{key: front[key] for key in keys if isinstance(front.get(key), str)}}
