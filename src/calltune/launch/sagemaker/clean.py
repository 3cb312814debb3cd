"""What a run costs or keeps in the account, ended and removed; the records of its jobs, which are free, stay."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import JobError
from calltune.launch.sagemaker.aws import Aws, plainly
from calltune.launch.sagemaker.jobs import ENDED, describe_job, jobs_of_run
from calltune.launch.sagemaker.request import account, run_prefix
from calltune.runtime.terminal import say

_KEYS_AT_ONCE = 1000
_SECONDS_BETWEEN_LOOKS = 2.0
_MOST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of a run: names of jobs that run, of jobs whose machines stay warm, and keys in the bucket."""

    running: list[str]
    warm: list[str]
    keys: list[str]


def remains(aws: Aws, config: Config) -> Remains:
    """Look, and change nothing.

    Raises:
        CalltuneError: AWS said no.
    """
    jobs = jobs_of_run(aws, config)
    return Remains(
        [job["TrainingJobName"] for job in jobs if job["TrainingJobStatus"] not in ENDED],
        [job["TrainingJobName"] for job in jobs if _is_warm(job)],
        list(_keys(aws, config)),
    )


def clean(aws: Aws, config: Config) -> None:
    """Stop the run's jobs, end its warm machines, and delete all below its prefix.

    Raises:
        CalltuneError: AWS said no, or a job does not end.
    """
    for name in remains(aws, config).running:
        _stop(aws, name)
    # A job that was stopped keeps its machines warm, too.
    for name in remains(aws, config).warm:
        with plainly(f"warm machines of '{name}'"):
            aws.sagemaker.update_training_job(TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 0})
        say(f"clean: ended the warm machines of {name}")
    keys, bucket = list(_keys(aws, config)), account(config).bucket
    with plainly(f"s3://{bucket}/{run_prefix(config)}"):
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            part: Any = [{"Key": key} for key in keys[start : start + _KEYS_AT_ONCE]]
            refused = aws.s3.delete_objects(Bucket=bucket, Delete={"Objects": part}).get("Errors", [])
            if refused:
                raise JobError(f"s3://{bucket}/{refused[0]['Key']}: could not be deleted: {refused[0]['Code']}")
    say(f"clean: deleted {len(keys):,} objects below s3://{bucket}/{run_prefix(config)}")


def _is_warm(job: dict[str, Any]) -> bool:
    return job.get("WarmPoolStatus", {}).get("Status") in ("Available", "InUse")


def _stop(aws: Aws, name: str) -> None:
    """Stop a job and wait for it to end: until then its machines write checkpoints."""
    say(f"clean: stopping {name}")
    if describe_job(aws, name)["TrainingJobStatus"] == "InProgress":
        with plainly(f"job '{name}'"):
            aws.sagemaker.stop_training_job(TrainingJobName=name)
    deadline = time.monotonic() + _MOST_SECONDS
    while describe_job(aws, name)["TrainingJobStatus"] not in ENDED:
        if time.monotonic() > deadline:
            raise JobError(f"job '{name}' does not end; run clean again later")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _keys(aws: Aws, config: Config) -> Iterator[str]:
    bucket = account(config).bucket
    with plainly(f"s3://{bucket}/{run_prefix(config)}"):
        pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=run_prefix(config))
        for page in pages:
            yield from (item["Key"] for item in page.get("Contents", []))
