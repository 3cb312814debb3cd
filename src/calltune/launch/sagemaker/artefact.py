"""Look at what a completed job left in S3: whether a whole stage is there, and which files it has."""

from collections.abc import Iterator
from typing import Any

from calltune.launch.sagemaker.aws import Aws, plainly

MANIFEST = "manifest.json"
ARCHIVE = "model.tar.gz"


def artefact_of(aws: Aws, stage: str, job: dict[str, Any]) -> str | None:
    """Return where a completed job's artefact lies, or None when no whole one is there.

    SageMaker calls a job complete whose container ended with 0, whatever it made; and an artefact may be removed since.

    Raises:
        CalltuneError: AWS said no.
    """
    uri = job.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")
    if not uri.startswith("s3://"):
        return None
    uri = uri if uri.endswith(".tar.gz") else f"{uri.rstrip('/')}/"
    names = {name for name, _ in artefact_files(aws, uri)}
    if stage == "evaluate":
        # It has a manifest for each checkpoint and benchmark.
        names = {name.rpartition("/")[2] for name in names}
    return uri if names & {ARCHIVE, MANIFEST} else None


def artefact_files(aws: Aws, uri: str) -> Iterator[tuple[str, str]]:
    """Yield the names of an artefact's files below its prefix, and their keys; an archive is one file.

    Raises:
        CalltuneError: AWS said no.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    for key, _ in objects(aws, bucket, prefix):
        if uri.endswith(".tar.gz"):
            # The prefix of an archive is its whole key.
            if key == prefix:
                yield ARCHIVE, key
        # The console makes a folder by an empty object of that name.
        elif not key.endswith("/"):
            yield key.removeprefix(prefix), key


def objects(aws: Aws, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield the keys that begin with a prefix, and their sizes in bytes.

    Raises:
        CalltuneError: AWS said no.
    """
    with plainly(f"s3://{bucket}/{prefix}"):
        for page in aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from ((item["Key"], item["Size"]) for item in page.get("Contents", []))
