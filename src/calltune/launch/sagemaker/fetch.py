"""Bring what the jobs made into the run's folder, as if the stages had run here."""

import shutil
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import JobError
from calltune.files.json_lines import read_json, write_json
from calltune.files.paths import inside, unpack
from calltune.launch.sagemaker.artefact import ARCHIVE, MANIFEST, artefact_files, artefact_of
from calltune.launch.sagemaker.aws import Aws, plainly
from calltune.launch.sagemaker.container import FOLDER_OF
from calltune.runtime.terminal import ProgressBar, say

_RECORD = "fetched.json"


def fetch(aws: Aws, config: Config, stage: str, job: dict[str, Any]) -> Path:
    """Bring a completed job's artefact into the stage's folder; one that was there before is kept beside it.

    Returns:
        The stage's folder. What this job had brought before is left as it is.

    Raises:
        CalltuneError: the artefact is gone, is not whole, or would lead out of the folder; or AWS said no.
    """
    folder, name = config.run_folder / FOLDER_OF[stage], job["TrainingJobName"]
    record = config.run_folder / _RECORD
    fetched = read_json(record) if record.exists() else {}
    if fetched.get(stage) == name and folder.exists():
        say(f"fetch: {folder} is that of job {name}, left as it is")
        return folder
    uri = artefact_of(aws, stage, job)
    if uri is None:
        raise JobError(f"fetch: job '{name}' is complete, but what it made is not there; run {stage} again")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        _download(aws, uri, part, stage)
        if stage != "evaluate" and not (part / MANIFEST).is_file():
            raise JobError(f"fetch: {uri} holds no {MANIFEST}; run {stage} again")
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    if folder.exists():
        aside = _free_name(folder)
        folder.rename(aside)
        say(f"fetch: the old {folder.name} is kept as {aside.name}")
    part.rename(folder)
    write_json(record, {**fetched, stage: name})
    say(f"fetch: {folder} is that of job {name}")
    return folder


def _download(aws: Aws, uri: str, folder: Path, stage: str) -> None:
    bucket = uri.removeprefix("s3://").partition("/")[0]
    files = list(artefact_files(aws, uri))
    # All names are looked at before anything is written.
    places = {key: inside(folder, name) for name, key in files}
    folder.mkdir(parents=True)
    with plainly(uri), ProgressBar(f"downloading {stage}", len(files)) as bar:
        for key, place in places.items():
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                aws.s3.download_file(bucket, key, str(place))
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                raise JobError(f"fetch: s3://{bucket}/{key}: is a file and a folder at once") from None
            bar.advance(1, place.name)
    archive = folder / ARCHIVE
    if archive.exists():
        unpack(archive, folder)
        archive.unlink()


def _free_name(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    return aside
