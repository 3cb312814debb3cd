"""End and remove what a run costs or keeps in the account; the records of its jobs, which are free, stay."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import JobError
from calltune.launch.sagemaker.artefact import objects
from calltune.launch.sagemaker.aws import Aws, plainly
from calltune.launch.sagemaker.checkpoints import delete
from calltune.launch.sagemaker.jobs import ENDED, describe_job, jobs_of_run
from calltune.launch.sagemaker.request import account, run_prefix
from calltune.runtime.terminal import say

_SECONDS_BETWEEN_LOOKS = 2.0
_MOST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Remains:
    """Holds what is left of a run: names of jobs that run, of jobs whose machines stay warm, and keys in the bucket."""

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
        _keys(aws, config),
    )


def clean(aws: Aws, config: Config) -> None:
    """Stop the run's jobs, end its warm machines, and delete all below its prefix.

    Raises:
        CalltuneError: AWS said no, or a job does not end.
    """
    stop(aws, config)
    keys, bucket = _keys(aws, config), account(config).bucket
    with plainly(f"s3://{bucket}/{run_prefix(config)}"):
        refused = delete(aws, bucket, keys)
    if refused:
        raise JobError(f"s3://{bucket}/{refused[0]}: could not be deleted: {refused[1]}")
    say(f"clean: deleted {len(keys):,} objects below s3://{bucket}/{run_prefix(config)}")


def stop(aws: Aws, config: Config, names: Collection[str] | None = None) -> None:
    """Stop jobs of the run and end the machines that stay warm after them; what they wrote stays.

    Args:
        names: by default all that run, and all machines that are warm.

    Raises:
        CalltuneError: AWS said no, or a job does not end.
    """
    running = remains(aws, config).running if names is None else names
    # All are asked before one is waited for, as all are billed.
    for name in running:
        _ask_to_stop(aws, name)
    for name in running:
        _wait_for_the_end(aws, name)
    # A job that was stopped keeps its machines warm, too.
    for name in [name for name in remains(aws, config).warm if names is None or name in names]:
        with plainly(f"warm machines of '{name}'"):
            aws.sagemaker.update_training_job(TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 0})
        say(f"stop: ended the warm machines of {name}")


def _is_warm(job: dict[str, Any]) -> bool:
    return job.get("WarmPoolStatus", {}).get("Status") in ("Available", "InUse")


def _ask_to_stop(aws: Aws, name: str) -> None:
    say(f"stop: stopping {name}")
    if describe_job(aws, name)["TrainingJobStatus"] == "InProgress":
        with plainly(f"job '{name}'"):
            aws.sagemaker.stop_training_job(TrainingJobName=name)


def _wait_for_the_end(aws: Aws, name: str) -> None:
    """Wait until a job has ended, as its machines write checkpoints until then."""
    deadline = time.monotonic() + _MOST_SECONDS
    while describe_job(aws, name)["TrainingJobStatus"] not in ENDED:
        if time.monotonic() > deadline:
            raise JobError(f"job '{name}' does not end; run this again later")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _keys(aws: Aws, config: Config) -> list[str]:
    return [key for key, _ in objects(aws, account(config).bucket, run_prefix(config))]
