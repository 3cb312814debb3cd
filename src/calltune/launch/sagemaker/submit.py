"""From a plan to jobs: what is missing is sent, and a stage's job is taken, awaited or asked for."""

from collections.abc import Sequence
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import JobError
from calltune.launch.sagemaker.archive import upload_archive, upload_folder
from calltune.launch.sagemaker.aws import Aws, plainly
from calltune.launch.sagemaker.cost import billed_usd, in_words, most_usd, require_affordable
from calltune.launch.sagemaker.follow import follow
from calltune.launch.sagemaker.jobs import attempts, describe_job, jobs_of_run, number_of
from calltune.launch.sagemaker.limits import require_within_limits
from calltune.launch.sagemaker.plan import JobPlan, describe, stage_job, stages_of
from calltune.launch.sagemaker.request import JOB_STAGES, StageJob, account, training_job
from calltune.runtime.terminal import say


def newest(aws: Aws, config: Config, plan: JobPlan, stage: str) -> dict[str, Any] | None:
    """The newest attempt at a stage as it is now in the run file, or None."""
    names = attempts(aws, config, stage, plan.identities[stage])
    return describe_job(aws, names[-1]) if names else None


def run_stages(aws: Aws, config: Config, plan: JobPlan, stages: Sequence[str]) -> list[dict[str, Any]]:
    """Have each stage's job complete, in order, and return what SageMaker says of them.

    Raises:
        CalltuneError: it would be too dear, AWS said no, or a job did not complete.
    """
    artefacts = {}
    for stage in stages_of(config):
        if JOB_STAGES.index(stage) < JOB_STAGES.index(stages[0]):
            job = newest(aws, config, plan, stage)
            if job is None or job["TrainingJobStatus"] != "Completed":
                raise JobError(f"{stages[0]}: needs the completed job of {stage}; run {stage} --on sagemaker first")
            artefacts[stage] = artefact_of(aws, job)
    open_stages = [stage for stage in stages if not _is_there(newest(aws, config, plan, stage))]
    if open_stages:
        if account(config).max_usd is not None:
            require_affordable(config, open_stages, jobs_of_run(aws, config))
        _send(aws, config, plan)
    done = []
    for stage in stages:
        job = _complete(aws, config, plan, stage_job(config, plan, stage, artefacts))
        artefacts[stage] = artefact_of(aws, job)
        done.append(job)
    return done


def artefact_of(aws: Aws, job: dict[str, Any]) -> str:
    """Where a completed job's artefact lies.

    Raises:
        JobError: nothing whole is there: it has been removed since.
    """
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    if uri.endswith(".tar.gz"):
        return uri
    uri = f"{uri.rstrip('/')}/"
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    with plainly(uri):
        if "Contents" not in aws.s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1):
            name = job["TrainingJobName"]
            raise JobError(f"job '{name}' is complete, but {uri} is empty; 'name' another run to do it again")
    return uri


def _is_there(job: dict[str, Any] | None) -> bool:
    return job is not None and job["TrainingJobStatus"] in ("InProgress", "Stopping", "Completed")


def _send(aws: Aws, config: Config, plan: JobPlan) -> None:
    bucket = account(config).bucket
    for upload in plan.uploads.values():
        upload_folder(aws, bucket, upload.key, upload.place)
    upload_archive(aws, bucket, plan.archive_key, plan.archive)


def _complete(aws: Aws, config: Config, plan: JobPlan, job: StageJob) -> dict[str, Any]:
    """One stage's job, completed: it is already, or runs and is followed, or is asked for now."""
    before = newest(aws, config, plan, job.stage)
    if before is not None and before["TrainingJobStatus"] == "Completed":
        say(f"{job.stage}: job {before['TrainingJobName']} is complete and unchanged, taken as it is")
        return before
    if before is not None and before["TrainingJobStatus"] == "Stopping":
        # Its machines still write checkpoints.
        say(f"{job.stage}: job {before['TrainingJobName']} is being stopped")
        before = _ended(aws, job.stage, before["TrainingJobName"])
    if before is not None and before["TrainingJobStatus"] == "InProgress":
        name = before["TrainingJobName"]
        say(f"{job.stage}: job {name} runs already")
    else:
        number = number_of(before["TrainingJobName"]) + 1 if before else 1
        name = _ask(aws, config, job, number)
    done = follow(aws, job.stage, name)
    say(f"{job.stage}: job {name} is complete; it cost {in_words(billed_usd(config, [done]))}")
    return done


def _ended(aws: Aws, stage: str, name: str) -> dict[str, Any]:
    try:
        return follow(aws, stage, name)
    except JobError:
        return describe_job(aws, name)


def _ask(aws: Aws, config: Config, job: StageJob, number: int) -> str:
    from botocore.exceptions import ClientError

    request = training_job(config, job, number)
    require_within_limits(request)
    name = request["TrainingJobName"]
    most = in_words(most_usd(config, job.stage))
    say(f"{job.stage}: asking for job {name} on {describe(config, job.stage)}; it costs at most {most}")
    with plainly(f"{job.stage}: job '{name}' was not accepted"):
        try:
            aws.sagemaker.create_training_job(**request)
        except ClientError as error:
            # Asked for twice: by a try that was lost on the way back, or by somebody else just now.
            if error.response["Error"]["Code"] != "ResourceInUse":
                raise
    return name
