"""Find the jobs that are there, by name or by tag, and what each of them is."""

import re
from collections.abc import Mapping
from typing import Any

from calltune.config.run_file import Config
from calltune.launch.sagemaker.aws import Aws, plainly
from calltune.launch.sagemaker.request import RUN_TAG, job_name, run_tag

ENDED = ("Completed", "Failed", "Stopped")


def describe_job(aws: Aws, name: str) -> dict[str, Any]:
    """Return what SageMaker says of a job.

    Raises:
        JobError: there is none, or AWS said no.
    """
    with plainly(f"job '{name}'"):
        return aws.sagemaker.describe_training_job(TrainingJobName=name)


def attempts(aws: Aws, config: Config, stage: str, identity: str) -> list[str]:
    """Return the names of a stage's jobs with this identity, the first attempt first."""
    base = _base(config, stage, identity)
    with plainly("list of jobs"):
        pages = aws.sagemaker.get_paginator("list_training_jobs").paginate(NameContains=base)
        names = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    ours = [name for name in names if re.fullmatch(rf"{re.escape(base)}-\d+", name)]
    return sorted(ours, key=number_of)


def _base(config: Config, stage: str, identity: str) -> str:
    return job_name(config, stage, identity, 1).rpartition("-")[0]


def number_of(name: str) -> int:
    """Return which attempt a job is."""
    return int(name.rpartition("-")[2])


def jobs_of_run(aws: Aws, config: Config) -> list[dict[str, Any]]:
    """Return every job that carries the run's tag, also of earlier run files, the oldest first."""
    has_tag = {"Name": f"Tags.{RUN_TAG}", "Operator": "Equals", "Value": run_tag(config)}
    with plainly("search for jobs"):
        pages = aws.sagemaker.get_paginator("search").paginate(
            Resource="TrainingJob", SearchExpression={"Filters": [has_tag]}
        )
        names = [result["TrainingJob"]["TrainingJobName"] for page in pages for result in page["Results"]]
    jobs = [describe_job(aws, name) for name in names]
    return sorted(jobs, key=lambda job: job["CreationTime"])


def unwanted(aws: Aws, config: Config, identities: Mapping[str, str]) -> list[str]:
    """Return the names of the run's jobs that run, but that its run file, as it is now, does not ask for.

    Args:
        identities: of the stages as they are now.
    """
    wanted = {_base(config, stage, identity) for stage, identity in identities.items()}
    live = [job["TrainingJobName"] for job in jobs_of_run(aws, config) if job["TrainingJobStatus"] not in ENDED]
    return [name for name in live if name.rpartition("-")[0] not in wanted]
