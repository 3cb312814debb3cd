"""Put down in the run's bucket what a job may take of `max_usd`, before the job is asked for.

Two commands may look at once and both find room, and SageMaker's search shows a new job only after some seconds. So
the bounds make a numbered list, of which S3 lets one command alone write the next number. The other one looks again,
and then it sees what the first has taken.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime

from calltune.config.run_file import Config
from calltune.errors import CalltuneError, JobError
from calltune.launch.sagemaker.archive import encryption
from calltune.launch.sagemaker.aws import Aws, plainly, was_refused
from calltune.launch.sagemaker.cost import most_usd, require_affordable
from calltune.launch.sagemaker.jobs import jobs_of_run
from calltune.launch.sagemaker.request import account, run_prefix

# What was put down longer ago than this and became no job never will.
_TO_BECOME_A_JOB = timedelta(minutes=15)

_NUM_TRIES = 50
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict")


@contextmanager
def put_down(aws: Aws, config: Config, stage: str, name: str) -> Iterator[None]:
    """Make a job's bound count for every other command, from before the request for the job that stands within it.

    Nothing is done without `max_usd`.

    Raises:
        ConfigError: together with what was billed, runs, or was put down before, it comes to more than that.
        CalltuneError: AWS said no.
    """
    if account(config).max_usd is None:
        yield
        return
    key = _enter(aws, config, stage, name)
    try:
        yield
    except CalltuneError as error:
        # Where it is not known whether the job was accepted, it counts on. The entry stays, as its number is taken.
        if key and was_refused(error):
            with suppress(CalltuneError):
                _write(aws, config, key, name, 0.0)
        raise


def _enter(aws: Aws, config: Config, stage: str, name: str) -> str | None:
    """Write the next entry of the list if there is room. Return its key, or None when the job is there already."""
    for _ in range(_NUM_TRIES):
        last, usd_of = _entries(aws, config)
        jobs = jobs_of_run(aws, config)
        known = {job["TrainingJobName"] for job in jobs}
        if name in known:
            return None
        asked = sum(usd for job, usd in usd_of.items() if job not in known and job != name)
        require_affordable(config, [stage], jobs, asked)
        key = f"{_prefix(config)}{last + 1:06}.json"
        if _write(aws, config, key, name, most_usd(config, stage) or 0.0, only_new=True):
            return key
    raise JobError(f"{stage}: other commands ask for jobs of this run all the time; run again")


def _entries(aws: Aws, config: Config) -> tuple[int, dict[str, float]]:
    """Return the last number that is taken, and US dollars by the names of jobs that were put down a short time ago."""
    bucket, prefix, last = account(config).bucket, _prefix(config), 0
    usd_of = dict[str, float]()
    with plainly(f"s3://{bucket}/{prefix}"):
        for page in aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            # The time is S3's own, as that of the entries is.
            now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            for item in page.get("Contents", []):
                if number := re.fullmatch(r"(\d+)\.json", item["Key"].removeprefix(prefix)):
                    last = max(last, int(number[1]))
                    if now - item["LastModified"] < _TO_BECOME_A_JOB:
                        name, usd = _read(aws, bucket, item["Key"])
                        usd_of[name] = max(usd, usd_of.get(name, 0.0))
    return last, usd_of


def _read(aws: Aws, bucket: str, key: str) -> tuple[str, float]:
    try:
        entry = json.loads(aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        return str(entry["job"]), float(entry["usd"])
    except (ValueError, TypeError, KeyError):
        raise JobError(f"s3://{bucket}/{key}: is no entry of calltune's; remove it") from None


def _write(aws: Aws, config: Config, key: str, name: str, usd: float, only_new: bool = False) -> bool:
    """Put an entry. Return False when it should be new, and another command has written it."""
    from botocore.exceptions import ClientError

    wanted = account(config)
    body = json.dumps({"job": name, "usd": usd}, allow_nan=False).encode()
    condition = {"IfNoneMatch": "*"} if only_new else {}
    with plainly(f"s3://{wanted.bucket}/{key}"):
        try:
            aws.s3.put_object(Bucket=wanted.bucket, Key=key, Body=body, **condition, **encryption(wanted.kms_key))
        except ClientError as error:
            if only_new and error.response["Error"]["Code"] in _TAKEN:
                return False
            raise
    return True


def _prefix(config: Config) -> str:
    return f"{run_prefix(config)}budget/"
