"""Make a plan into jobs: what is missing is sent, and a stage's job is taken, awaited or asked for."""

from collections.abc import Sequence
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import JobError
from calltune.launch.sagemaker.archive import upload_archive, upload_folder
from calltune.launch.sagemaker.artefact import artefact_of
from calltune.launch.sagemaker.aws import Aws, plainly, was_refused
from calltune.launch.sagemaker.budget import put_down
from calltune.launch.sagemaker.checkpoints import thin_out
from calltune.launch.sagemaker.cost import billed_usd, in_words, most_usd, require_affordable
from calltune.launch.sagemaker.follow import follow, goes_on
from calltune.launch.sagemaker.jobs import ENDED, attempts, describe_job, jobs_of_run, number_of, unwanted
from calltune.launch.sagemaker.limits import require_within_limits
from calltune.launch.sagemaker.plan import JobPlan, describe, encryption_in_words, stage_job, stages_of
from calltune.launch.sagemaker.request import JOB_STAGES, StageJob, account, training_job
from calltune.runtime.terminal import say


def newest(aws: Aws, config: Config, plan: JobPlan, stage: str) -> dict[str, Any] | None:
    """Return the newest attempt at a stage as it is now in the run file, or None."""
    names = attempts(aws, config, stage, plan.identities[stage])
    return describe_job(aws, names[-1]) if names else None


def run_stages(
    aws: Aws, config: Config, plan: JobPlan, stages: Sequence[str], detach: bool = False
) -> list[dict[str, Any]]:
    """Have each stage's job complete, in order, and return what SageMaker says of them.

    Args:
        detach: leave the first job that is not complete to itself; what is returned are those before it.

    Raises:
        CalltuneError: it would be too dear, AWS said no, or a job did not complete.
    """
    artefacts = {}
    for stage in stages_of(config):
        if JOB_STAGES.index(stage) < JOB_STAGES.index(stages[0]):
            uri = _made(aws, stage, newest(aws, config, plan, stage))
            if uri is None:
                raise JobError(f"{stages[0]}: needs the completed job of {stage}; run {stage} --on sagemaker first")
            artefacts[stage] = uri
    tell_unwanted(aws, config, plan)
    # They are looked at before the stages: no job that somebody asks for meanwhile is then among both.
    jobs = jobs_of_run(aws, config) if account(config).max_usd is not None else []
    open_stages = [stage for stage in stages if not _is_there(aws, stage, newest(aws, config, plan, stage))]
    if open_stages:
        require_affordable(config, open_stages, jobs)
        if line := encryption_in_words(config):
            say(line)
        _send(aws, config, plan)
    done = []
    for stage in stages:
        job = _complete(aws, config, plan, stage_job(config, plan, stage, artefacts), detach)
        if job is None:
            break
        artefacts[stage] = _made(aws, stage, job) or ""
        done.append(job)
    return done


def tell_unwanted(aws: Aws, config: Config, plan: JobPlan) -> None:
    """Print a line for each job of the run that runs, and is billed, though the run file no longer asks for it."""
    for name in unwanted(aws, config, plan.identities):
        say(
            f"warning: job '{name}' runs and is billed, but this run file does not ask for it; "
            "'calltune sagemaker stop-others' stops it"
        )


def _made(aws: Aws, stage: str, job: dict[str, Any] | None) -> str | None:
    """Return where a stage's whole artefact lies, or None when its job has not made one."""
    is_complete = job is not None and job["TrainingJobStatus"] == "Completed"
    return artefact_of(aws, stage, job) if job and is_complete else None


def _is_there(aws: Aws, stage: str, job: dict[str, Any] | None) -> bool:
    return job is not None and (job["TrainingJobStatus"] not in ENDED or _made(aws, stage, job) is not None)


def _send(aws: Aws, config: Config, plan: JobPlan) -> None:
    bucket, key = account(config).bucket, account(config).kms_key
    for upload in plan.uploads.values():
        upload_folder(aws, bucket, upload.key, upload.place, key)
    upload_archive(aws, bucket, plan.archive_key, plan.archive, key)


def _complete(aws: Aws, config: Config, plan: JobPlan, job: StageJob, detach: bool) -> dict[str, Any] | None:
    """Return one stage's job once it is complete.

    It is already, or it runs and is followed, or it is asked for now. With `detach` it is left, which gives None.
    """
    stage, before = job.stage, newest(aws, config, plan, job.stage)
    if _made(aws, stage, before) and before:
        say(f"{stage}: job {before['TrainingJobName']} is complete and unchanged, taken as it is")
        return before
    if before is not None and before["TrainingJobStatus"] == "Completed":
        say(f"{stage}: job {before['TrainingJobName']} is complete, but what it made is not there; it counts as failed")
    if before is not None and before["TrainingJobStatus"] == "Stopping":
        # Its machines still write checkpoints.
        say(f"{stage}: job {before['TrainingJobName']} is being stopped")
        before = _ended(aws, stage, before["TrainingJobName"])
    if before is not None and before["TrainingJobStatus"] == "InProgress":
        name = before["TrainingJobName"]
        say(f"{stage}: job {name} runs already")
    else:
        number = number_of(before["TrainingJobName"]) + 1 if before else 1
        if before:
            thin_out(aws, config, job)
        name = _ask(aws, config, job, number)
    if detach:
        say(f"{stage}: job {name} is left to itself and billed until it ends; the same command goes on from here")
        return None
    done = follow(aws, stage, name)
    cost = in_words(billed_usd(config, [done]))
    if _made(aws, stage, done) is None:
        raise JobError(
            f"{stage}: job '{name}' ended as complete, but left no whole {stage}; it cost {cost}; "
            "run again to go on from its checkpoint"
        )
    say(f"{stage}: job {name} is complete; it cost {cost}")
    return done


def _ended(aws: Aws, stage: str, name: str) -> dict[str, Any]:
    try:
        return follow(aws, stage, name)
    except JobError:
        return describe_job(aws, name)


def _ask(aws: Aws, config: Config, job: StageJob, number: int) -> str:
    request = training_job(config, job, number)
    require_within_limits(request)
    name = request["TrainingJobName"]
    most = in_words(most_usd(config, job.stage))
    with put_down(aws, config, job.stage, name):
        say(f"{job.stage}: asking for job {name} on {describe(config, job.stage)}; it costs at most {most}")
        with goes_on(f"job '{name}' may have been accepted, and is billed then", unless=was_refused):
            _create(aws, job.stage, request)
    return name


def _create(aws: Aws, stage: str, request: dict[str, Any]) -> None:
    from botocore.exceptions import ClientError

    with plainly(f"{stage}: job '{request['TrainingJobName']}' was not accepted"):
        try:
            aws.sagemaker.create_training_job(**request)
        except ClientError as error:
            # It was asked for before: by a try whose answer was lost, or by somebody else just now.
            if error.response["Error"]["Code"] != "ResourceInUse":
                raise
