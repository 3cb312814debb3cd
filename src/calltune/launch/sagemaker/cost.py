"""What a run costs: upper bounds of jobs that run or are still to be asked for, and what was billed of ended ones.

With `max_usd` each job's bound is put down in the bucket before the job is asked for, and then all that is put down is
added up. So of two commands at once, which both look and find room, one sees the other's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import CalltuneError, ConfigError
from calltune.launch.sagemaker.archive import encryption
from calltune.launch.sagemaker.aws import Aws, plainly, was_refused
from calltune.launch.sagemaker.jobs import ENDED, jobs_of_run
from calltune.launch.sagemaker.request import account, machines, run_prefix

# What was put down longer ago than this and became no job never will.
_TO_BECOME_A_JOB = timedelta(minutes=15)


def most_usd(config: Config, stage: str) -> float | None:
    """Upper bound of one job in US dollars: all of its time on all its machines; None without a price."""
    wanted = account(config)
    if wanted.price_per_hour is None:
        return None
    return wanted.price_per_hour * machines(config, stage) * (wanted.max_runtime_hours + wanted.keep_alive_minutes / 60)


def machine_hours(job: Mapping[str, Any]) -> float:
    """What was billed of a job, over all its machines; a job that runs has been billed nothing yet."""
    return job.get("BillableTimeInSeconds", 0) * _num_machines(job) / 3600


def billed_usd(config: Config, jobs: Sequence[Mapping[str, Any]]) -> float | None:
    """What the jobs cost in US dollars, warm machines between them apart; None without a price."""
    price = account(config).price_per_hour
    return None if price is None else price * sum(machine_hours(job) for job in jobs)


def running_usd(config: Config, jobs: Sequence[Mapping[str, Any]]) -> float:
    """Upper bound in US dollars of those of the jobs that have not ended, by what each was asked for."""
    return sum(_most_hours(job) for job in jobs if _is_running(job)) * (account(config).price_per_hour or 0.0)


def require_affordable(config: Config, stages: Sequence[str], jobs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what could take the run above `max_usd`.

    Args:
        stages: those whose jobs are still to be asked for.
        jobs: the run's jobs so far, also those that run.

    Raises:
        ConfigError: their upper bounds, those of what runs, and what was billed already come to more.
    """
    _require(config, stages, jobs, 0.0)


@contextmanager
def put_down(aws: Aws, config: Config, stage: str, name: str) -> Iterator[None]:
    """Around the request for a job: its bound counts for every other command from now on.

    Nothing is done without `max_usd`.

    Raises:
        ConfigError: together with what was billed, runs, or was put down before, it comes to more than that.
        CalltuneError: AWS said no.
    """
    wanted = account(config)
    if wanted.max_usd is None:
        yield
        return
    key = f"{run_prefix(config)}budget/{name}.json"
    with plainly(f"s3://{wanted.bucket}/{key}"):
        body = json.dumps({"usd": most_usd(config, stage)}, allow_nan=False).encode()
        aws.s3.put_object(Bucket=wanted.bucket, Key=key, Body=body, **encryption(wanted.kms_key))
    try:
        jobs = jobs_of_run(aws, config)
        _require(config, [stage], jobs, _put_down_before(aws, config, key, jobs))
        yield
    except CalltuneError as error:
        # Where it is not known whether the job was accepted, it counts on.
        if isinstance(error, ConfigError) or was_refused(error):
            with suppress(CalltuneError), plainly(f"s3://{wanted.bucket}/{key}"):
                aws.s3.delete_object(Bucket=wanted.bucket, Key=key)
        raise


def _put_down_before(aws: Aws, config: Config, own_key: str, jobs: Sequence[Mapping[str, Any]]) -> float:
    """US dollars of what others put down before this key was, and is no job yet."""
    wanted, prefix = account(config), f"{run_prefix(config)}budget/"
    known, usd = {f"{prefix}{job['TrainingJobName']}.json" for job in jobs}, 0.0
    with plainly(f"s3://{wanted.bucket}/{prefix}"):
        pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=wanted.bucket, Prefix=prefix)
        found = {item["Key"]: item["LastModified"] for page in pages for item in page.get("Contents", [])}
        # By S3's clock, and of one second by name: of two, both see the same one as the first.
        own = (found.get(own_key, datetime.now(UTC)), own_key)
        for key, time in found.items():
            if key not in known and (time, key) < own and own[0] - time < _TO_BECOME_A_JOB:
                usd += _amount(aws, wanted.bucket, key)
    return usd


def _amount(aws: Aws, bucket: str, key: str) -> float:
    from botocore.exceptions import ClientError

    try:
        return json.loads(aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read())["usd"]
    except ClientError as error:
        # Its job was refused meanwhile.
        if error.response["Error"]["Code"] == "NoSuchKey":
            return 0.0
        raise


def _require(config: Config, stages: Sequence[str], jobs: Sequence[Mapping[str, Any]], others: float) -> None:
    limit, billed = account(config).max_usd, billed_usd(config, [job for job in jobs if not _is_running(job)])
    if limit is None or billed is None:
        return
    most, running = sum(most_usd(config, stage) or 0.0 for stage in stages), running_usd(config, jobs) + others
    if billed + most + running > limit:
        runs = f"what runs already up to {running:.2f}, " if running else ""
        raise ConfigError(
            f"'launch.sagemaker.max_usd' is {limit:.2f}: {' and '.join(stages)} may take up to {most:.2f} USD, {runs}"
            f"and {billed:.2f} were billed before; lower 'max_runtime_hours' or raise it"
        )


def _is_running(job: Mapping[str, Any]) -> bool:
    return job["TrainingJobStatus"] not in ENDED


def _num_machines(job: Mapping[str, Any]) -> int:
    resources = job["ResourceConfig"]
    preferred = resources.get("InstancePreferences", [{}])[0].get("InstanceCount", 1)
    return resources.get("SelectedInstanceCount") or resources.get("InstanceCount") or preferred


def _most_hours(job: Mapping[str, Any]) -> float:
    seconds = job["StoppingCondition"]["MaxRuntimeInSeconds"]
    return (seconds + job["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)) * _num_machines(job) / 3600


def in_words(usd: float | None) -> str:
    """A sum for a reader."""
    return "unknown, as 'price_per_hour' is not given" if usd is None else f"{usd:.2f} USD"
