"""What a run comes to as jobs: which channels each has, and the hash of all that goes into it. Reads, sends nothing."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import ConfigError, RunFolderError
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.json_lines import read_json
from calltune.files.manifest import model_sha256
from calltune.launch.sagemaker.archive import PACKAGE, code_archive, content_sha256, pins
from calltune.launch.sagemaker.request import JOB_STAGES, StageJob, account, run_prefix

# What decides no stage's result: where things lie, and what machines cost.
_OUTSIDE = {"output", "tracking", "data", "model", "stages", "launch", "sft", "dpo", "evaluate"}
_ROWS = {
    "sft": ("train.jsonl", "validation.jsonl"),
    "dpo": ("preferences.jsonl", "validation_preferences.jsonl"),
    "evaluate": ("test.jsonl",),
}


@dataclass(frozen=True, slots=True)
class Upload:
    """Local files and the prefix, or for the archive the key, under which the jobs find them."""

    key: str
    place: Path


@dataclass(frozen=True, slots=True)
class JobPlan:
    """The archive of code, the folders to send, and each stage's hash and own channels, in order."""

    archive_key: str
    archive: bytes
    uploads: Mapping[str, Upload]
    identities: Mapping[str, str]


def make_plan(config: Config, package: Path = PACKAGE, requirements: Sequence[str] | None = None) -> JobPlan:
    """Hash what `prepare` wrote, the model's folder and the benchmarks' files.

    Args:
        package: the source of the package that the jobs run.
        requirements: what they install; by default the pins.

    Raises:
        CalltuneError: the data is not prepared, a path is not there, or the run file asks for what a job cannot do.
    """
    data = config.run_folder / "data"
    rows = read_json(data / "manifest.json")["sha256"]
    if damaged := [name for name, sha256 in rows.items() if file_sha256(data / name) != sha256]:
        raise RunFolderError(f"{data / damaged[0]}: was altered since prepare wrote it; run prepare again")
    _require_possible(config)
    folders = {"data": data, **_model_folder(config), **_benchmark_folders(config)}
    hashes = {name: content_sha256(place) for name, place in folders.items()}
    prefix = run_prefix(config)
    uploads = {name: Upload(f"{prefix}{name}/{hashes[name][:16]}/", place) for name, place in folders.items()}
    if requirements is None:
        requirements = pins(mlflow=account(config).mlflow is not None)
    archive = code_archive(container_config(config), requirements, package)
    key = f"{prefix}code/{hashlib.sha256(archive).hexdigest()}/code.tar.gz"
    return JobPlan(key, archive, uploads, _identities(config, rows, hashes))


def stages_of(config: Config) -> list[str]:
    """The jobs of a run, in order: its training stages, and the evaluation when the run file names a benchmark."""
    return [
        stage for stage in JOB_STAGES if stage in config.stages or (stage == "evaluate" and config.evaluate.benchmarks)
    ]


def stage_job(config: Config, plan: JobPlan, stage: str, artefacts: Mapping[str, str]) -> StageJob:
    """A stage with its channels; `artefacts` are the URIs of what the stages before it made."""
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


def container_config(config: Config) -> dict[str, Any]:
    """The run file as the jobs read it: without the account, and tracked where they can reach it or not at all."""
    table, wanted = config.model_dump(mode="json"), account(config)
    del table["launch"]["sagemaker"]
    table["tracking"] |= {"mlflow": wanted.mlflow is not None, "uri": wanted.mlflow}
    table["output"] = "runs"
    return table


def _identities(config: Config, rows: Mapping[str, str], hashes: Mapping[str, str]) -> dict[str, str]:
    """The hash of all that goes into each stage, chained: another SFT makes another DPO."""
    whole = config.model_dump(mode="json")
    model = account(config).model_s3 or model_sha256(config.model)
    shared = {key: value for key, value in whole.items() if key not in _OUTSIDE}
    launch = [config.launch.processes, config.launch.strategy, account(config).instance_count]
    found: dict[str, str] = {}
    for stage in stages_of(config):
        own = [rows[name] for name in _ROWS[stage] if name in rows]
        if stage == "evaluate":
            # Paths are told by what lies there.
            asked = [{**entry, "path": None} for entry in whole["evaluate"]["benchmarks"]]
            files = {name: value for name, value in hashes.items() if name.startswith("benchmark-")}
            inputs: list[Any] = [{**whole["evaluate"], "benchmarks": asked}, files, _hub_paths(config)]
        else:
            inputs = [whole[stage], launch]
        found[stage] = value_sha256([stage, model, shared, own, inputs, dict(found)])
    return found


def _require_possible(config: Config) -> None:
    for number, entry in enumerate(config.evaluate.benchmarks):
        if "." in entry.name:
            raise ConfigError(
                f"'evaluate.benchmarks.{number}': a module of your own, '{entry.name}', is not sent to jobs"
            )
    for stage in config.stages:
        table = getattr(config, stage)
        if account(config).spot and table.get("save_strategy") == "no":
            raise ConfigError(f"'{stage}.save_strategy' is \"no\": a spot machine may be taken back at any time")


def _model_folder(config: Config) -> dict[str, Path]:
    folder = Path(config.model)
    return {"model": folder} if folder.is_dir() and not account(config).model_s3 else {}


def _benchmark_folders(config: Config) -> dict[str, Path]:
    """The benchmarks' files on this machine; those that `prepare` wrote come with the data, others from the Hub."""
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
    """The machines of a stage's job in a few words."""
    wanted = account(config)
    count = 1 if stage == "evaluate" else wanted.instance_count
    return f"{count} x {' or '.join(wanted.instance_types)}" + (" (spot)" if wanted.spot else "")
