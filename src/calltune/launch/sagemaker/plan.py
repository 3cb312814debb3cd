"""Plan a run as jobs: which channels each has, and the hash of all that goes into it. Nothing is sent here."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.config.training import Tuning
from calltune.errors import ConfigError, RunFolderError
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.json_lines import read_json
from calltune.files.manifest import model_sha256, template_sha256
from calltune.launch.sagemaker.archive import PACKAGE, code_archive, content_sha256
from calltune.launch.sagemaker.images import image_of, may_have_volume_key
from calltune.launch.sagemaker.own_files import OwnFiles, as_sent, own_files
from calltune.launch.sagemaker.packages import needs, pins, variables
from calltune.launch.sagemaker.request import JOB_STAGES, StageJob, account, run_prefix, run_tag

_ROWS = {
    "sft": ("train.jsonl", "validation.jsonl"),
    "dpo": ("preferences.jsonl", "validation_preferences.jsonl"),
    "grpo": ("train.jsonl", "preferences.jsonl", "validation.jsonl", "validation_preferences.jsonl"),
    "evaluate": ("test.jsonl",),
}


@dataclass(frozen=True, slots=True)
class Upload:
    """Names local files and the prefix under which the jobs find them."""

    key: str
    place: Path


@dataclass(frozen=True, slots=True)
class JobPlan:
    """Holds the archive of code with its key, the folders to send by channel, and each stage's hash, in order."""

    archive_key: str
    archive: bytes
    uploads: Mapping[str, Upload]
    identities: Mapping[str, str]


def make_plan(config: Config, package: Path = PACKAGE, requirements: Sequence[str] | None = None) -> JobPlan:
    """Hash what `prepare` wrote, the model's folder, the benchmarks' files and what else of this machine is sent.

    Args:
        package: the source of the package that the jobs run.
        requirements: what they install; by default the pins, with what the run file needs beside them.

    Raises:
        CalltuneError: the data is not prepared, a path is not there, or the run file asks for what a job cannot do.
    """
    data = config.run_folder / "data"
    rows = read_json(data / "manifest.json")["sha256"]
    if damaged := [name for name, sha256 in rows.items() if file_sha256(data / name) != sha256]:
        raise RunFolderError(f"{data / damaged[0]}: was altered since prepare wrote it; run prepare again")
    _require_possible(config)
    pinned, own = pins(config), own_files(config)
    folders = {"data": data, **_model_folder(config), **_benchmark_folders(config)}
    hashes = {name: content_sha256(place) for name, place in folders.items()}
    prefix = run_prefix(config)
    uploads = {name: Upload(f"{prefix}{name}/{hashes[name][:16]}/", place) for name, place in folders.items()}
    looked_for = {
        "packages": {need.module: need.key for need in needs(config)},
        "modules": {path: key for key, path in own.modules.items()},
        "variables": variables(config),
    }
    installed = pinned if requirements is None else requirements
    archive = code_archive(container_config(config, own), installed, package, own.files, looked_for)
    key = f"{prefix}code/{hashlib.sha256(archive).hexdigest()}/code.tar.gz"
    return JobPlan(key, archive, uploads, _identities(config, rows, hashes, own))


def stages_of(config: Config) -> list[str]:
    """Return the jobs of a run, in order: its training stages, and the evaluation when the run file has a benchmark."""
    return [
        stage for stage in JOB_STAGES if stage in config.stages or (stage == "evaluate" and config.evaluate.benchmarks)
    ]


def stage_job(config: Config, plan: JobPlan, stage: str, artefacts: Mapping[str, str]) -> StageJob:
    """Return a stage with its channels; `artefacts` are the URIs of what the stages before it made."""
    bucket = account(config).bucket
    channels = {"code": f"s3://{bucket}/{plan.archive_key.rpartition('/')[0]}/"}
    for name, upload in plan.uploads.items():
        if stage == "evaluate" or not name.startswith("benchmark-"):
            channels[name] = f"s3://{bucket}/{upload.key}"
    if model := account(config).model_s3:
        channels["model"] = model
    for before, uri in artefacts.items():
        if JOB_STAGES.index(before) < JOB_STAGES.index(stage):
            channels[before] = uri
    return StageJob(stage, plan.identities[stage], channels)


def container_config(config: Config, own: OwnFiles) -> dict[str, Any]:
    """Return the run file as jobs read it: without the account, and tracked where they can reach it or not at all."""
    table, wanted = as_sent(config.model_dump(mode="json"), own), account(config)
    del table["launch"]["sagemaker"]
    table["tracking"] |= {"mlflow": wanted.mlflow is not None, "uri": wanted.mlflow}
    table["output"] = "runs"
    return table


def _identities(config: Config, rows: Mapping[str, str], hashes: Mapping[str, str], own: OwnFiles) -> dict[str, str]:
    """Hash all that goes into each stage. The hashes are chained: another SFT makes another DPO.

    Jobs' names are unique in an account: the bucket and prefix are in the hash, too. What decides no stage's result is
    not in it: what machines cost, the gate, the report, the export.
    """
    whole, identities = config.model_dump(mode="json"), dict[str, str]()
    model = account(config).model_s3 or model_sha256(config.model)
    template = own.sha256_of("chat_template") or template_sha256(config)
    shared = [run_tag(config), model, config.seed, template]
    if config.chat.thinking != "off":
        shared.append(config.chat.model_dump(mode="json"))
    launch = [config.launch.processes, config.launch.strategy, account(config).instance_count]
    for stage in stages_of(config):
        names = _ROWS[stage]
        if stage == "evaluate" and any(entry["name"] == "decide" for entry in whole["evaluate"]["benchmarks"]):
            # How answers begin is learned from the rows that are trained on, and calibrated on those held out.
            names += _ROWS["grpo"]
        own_rows = [rows[name] for name in names if name in rows]
        if stage == "evaluate":
            # Paths are told by what lies there, modules of one's own by their code.
            asked = [{**entry, "path": None} for entry in whole["evaluate"]["benchmarks"]]
            files = {name: value for name, value in hashes.items() if name.startswith("benchmark-")}
            inputs = [{**whole["evaluate"], "benchmarks": asked}, files, _hub_paths(config), own.code_sha256]
        else:
            tuning = [config.lora, _tuning(config, stage, own), config.data.group_by]
            inputs = [whole[stage], tuning, launch, *([whole["guard"]] if config.guard.keeps_best else [])]
        identities[stage] = value_sha256([stage, shared, own_rows, inputs, dict(identities)])
    return identities


def _tuning(config: Config, stage: Any, own: OwnFiles) -> list[Any]:
    """Return what a stage trains of the model; Spectrum's file is told by its content."""
    key = f"tuning.{stage}.spectrum_file" if getattr(config.tuning, stage) else "tuning.spectrum_file"
    keys = {name: getattr(config.tuning.of(stage), name) for name in Tuning.model_fields}
    return [{**keys, "spectrum_file": None}, own.sha256_of(key)]


def _require_possible(config: Config) -> None:
    image_of(account(config))
    for stage in config.stages:
        table = getattr(config, stage)
        if account(config).spot and table.get("save_strategy") == "no":
            raise ConfigError(f"'{stage}.save_strategy' is \"no\": a spot machine may be taken back at any time")


def _model_folder(config: Config) -> dict[str, Path]:
    folder = Path(config.model)
    return {"model": folder} if folder.is_dir() and not account(config).model_s3 else {}


def _benchmark_folders(config: Config) -> dict[str, Path]:
    """Return the benchmarks' files of this machine; others come with the data or from the Hub."""
    folders = {}
    for number, entry in enumerate(config.evaluate.benchmarks):
        path = entry.options.get("path")
        if isinstance(path, str) and "{run}" not in path and Path(path).exists():
            folders[f"benchmark-{number}"] = Path(path)
    return folders


def _hub_paths(config: Config) -> list[Any]:
    ours = _benchmark_folders(config)
    return [
        entry.options.get("path")
        for number, entry in enumerate(config.evaluate.benchmarks)
        if f"benchmark-{number}" not in ours
    ]


def describe(config: Config, stage: str) -> str:
    """Describe the machines of a stage's job in a few words."""
    wanted = account(config)
    count = 1 if stage == "evaluate" else wanted.instance_count
    return f"{count} x {' or '.join(wanted.instance_types)}" + (" (spot)" if wanted.spot else "")


def encryption_in_words(config: Config) -> str | None:
    """Say what `kms_key` encrypts, where that is not all; None where it is, or where there is no key."""
    wanted = account(config)
    if wanted.kms_key is None or may_have_volume_key(wanted):
        return None
    kinds = " and ".join(wanted.instance_types)
    return f"'kms_key' encrypts what lies in S3; {kinds} encrypts its own disks by hardware and takes no key for them"
