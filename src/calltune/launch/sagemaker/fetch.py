"""What the jobs made, brought into the run's folder as if the stages had run here."""

import shutil
import tarfile
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.files.json_lines import read_json, write_json
from calltune.launch.sagemaker.aws import Aws, plainly
from calltune.launch.sagemaker.container import FOLDER_OF
from calltune.launch.sagemaker.submit import artefact_of
from calltune.runtime.terminal import ProgressBar, say

_RECORD = "fetched.json"


def fetch(aws: Aws, config: Config, stage: str, job: dict[str, Any]) -> Path:
    """Bring a completed job's artefact into the stage's folder; one that was there before is kept beside it.

    Returns:
        The stage's folder. What this job had brought before is left as it is.

    Raises:
        CalltuneError: the artefact is gone, or AWS said no.
    """
    folder, name = config.run_folder / FOLDER_OF[stage], job["TrainingJobName"]
    record = config.run_folder / _RECORD
    fetched = read_json(record) if record.exists() else {}
    if fetched.get(stage) == name and folder.exists():
        say(f"fetch: {folder} is that of job {name}, left as it is")
        return folder
    uri = artefact_of(aws, job)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    _download(aws, uri, part, stage)
    if folder.exists():
        aside = _free_name(folder)
        folder.rename(aside)
        say(f"fetch: the old {folder.name} is kept as {aside.name}")
    part.rename(folder)
    write_json(record, {**fetched, stage: name})
    say(f"fetch: {folder} is that of job {name}")
    return folder


def _download(aws: Aws, uri: str, folder: Path, stage: str) -> None:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    folder.mkdir(parents=True)
    with plainly(uri):
        pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        with ProgressBar(f"downloading {stage}", len(keys)) as bar:
            for key in keys:
                # The prefix of an archive is its whole key.
                name = key.removeprefix(prefix) or key.rpartition("/")[2]
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                aws.s3.download_file(bucket, key, str(folder / name))
                bar.advance(1, name)
    archive = folder / "model.tar.gz"
    if archive.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()


def _free_name(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    return aside
