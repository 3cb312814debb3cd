"""`--on sagemaker`, and `calltune sagemaker ACTION`: the run file's stages as jobs, looked at and cleared away.

`prepare` and `report` run here; what lies between them runs there.
"""

import json
from pathlib import Path

from calltune.config.run_file import Config
from calltune.errors import ConfigError, JobError
from calltune.launch.sagemaker.aws import Aws, require_bucket
from calltune.launch.sagemaker.clean import clean, remains
from calltune.launch.sagemaker.cost import billed_usd, in_words, machine_hours, most_usd
from calltune.launch.sagemaker.fetch import fetch
from calltune.launch.sagemaker.follow import Log
from calltune.launch.sagemaker.jobs import jobs_of_run
from calltune.launch.sagemaker.limits import require_within_limits
from calltune.launch.sagemaker.plan import JobPlan, describe, make_plan, stage_job, stages_of
from calltune.launch.sagemaker.request import JOB_STAGES, account, artefact_uri, job_name, run_uri, training_job
from calltune.launch.sagemaker.submit import newest, run_stages
from calltune.runtime.terminal import say, show_table
from calltune.verbs import prepare, report


def launch(config: Config, verb: str, dry_run: bool = False) -> Path:
    """Run a verb's stages as jobs, follow them, and, after `run`, bring what they made and report it.

    Args:
        dry_run: print the requests and send nothing; AWS is not asked.

    Returns:
        The run's folder.

    Raises:
        CalltuneError: the run file, the account or a job is wrong.
    """
    if config.mine:
        raise ConfigError("[mine] runs on this machine: 'calltune run' without --on sagemaker")
    wanted = account(config)
    stages = stages_of(config) if verb == "run" else [verb]
    if missing := [stage for stage in stages if stage not in stages_of(config)]:
        raise ConfigError(f"the run file has nothing for {missing[0]} to do")
    if verb == "run":
        prepare.run(config)
    plan = make_plan(config)
    if dry_run:
        _show_requests(config, plan, stages)
        return config.run_folder
    aws = Aws(wanted.region)
    require_bucket(aws, wanted.bucket)
    done = run_stages(aws, config, plan, stages)
    if verb != "run":
        say("'calltune sagemaker fetch' brings what it made")
        return config.run_folder
    say(f"the run's jobs cost {in_words(billed_usd(config, done))}")
    for stage, job in zip(stages, done, strict=True):
        fetch(aws, config, stage, job)
    if "evaluate" in stages:
        report.run(config)
    say("'calltune sagemaker clean' removes what is left in the account")
    return config.run_folder


def act(config: Config, action: str, yes: bool = False) -> None:
    """One of `plan`, `status`, `logs`, `fetch`, `clean`.

    Args:
        yes: `clean` acts; without it, it shows what it would do.

    Raises:
        CalltuneError: the run file or the account is wrong.
    """
    wanted = account(config)
    aws = Aws(wanted.region)
    require_bucket(aws, wanted.bucket)
    if action == "status":
        _show_status(aws, config)
    elif action == "logs":
        _show_logs(aws, config)
    elif action == "clean":
        _clean(aws, config, yes)
    else:
        prepare.run(config)
        plan = make_plan(config)
        if action == "plan":
            _show_plan(aws, config, plan)
        else:
            _fetch(aws, config, plan)


def _show_requests(config: Config, plan: JobPlan, stages: list[str]) -> None:
    """Each request as JSON. Artefacts of jobs before lie where the first attempt would leave them."""
    names = {stage: job_name(config, stage, plan.identities[stage], 1) for stage in plan.identities}
    artefacts = {stage: artefact_uri(config, name) for stage, name in names.items()}
    for stage in stages:
        request = training_job(config, stage_job(config, plan, stage, artefacts), 1)
        require_within_limits(request)
        say(json.dumps(request, indent=2, allow_nan=False))


def _show_plan(aws: Aws, config: Config, plan: JobPlan) -> None:
    rows, most = [], 0.0
    for stage in stages_of(config):
        job, bound = newest(aws, config, plan, stage), most_usd(config, stage)
        name = job["TrainingJobName"] if job else job_name(config, stage, plan.identities[stage], 1)
        state = job["TrainingJobStatus"] if job else "to be asked for"
        if state in ("Failed", "Stopped"):
            state += ", will go on as the next attempt"
        if state != "Completed":
            most += bound or 0.0
        rows.append((stage, name, state, describe(config, stage), in_words(bound).partition(",")[0]))
    show_table(f"jobs of {config.name} in {run_uri(config)}", ("", "job", "state", "machines", "costs at most"), rows)
    say(f"what is not complete costs at most {in_words(most if account(config).price_per_hour else None)}")


def _show_status(aws: Aws, config: Config) -> None:
    jobs = jobs_of_run(aws, config)
    rows = []
    for job in jobs:
        log = Log(aws, job["TrainingJobName"])
        lines = log.new_lines() if job["TrainingJobStatus"] == "InProgress" else []
        said = lines[-1] if lines else " ".join(job.get("FailureReason", "").split())
        state = f"{job['TrainingJobStatus']} ({job['SecondaryStatus']})"
        rows.append((job["TrainingJobName"], state, f"{machine_hours(job):.2f}", said[:80]))
    if not rows:
        say(f"no job carries the tag of {run_uri(config)}")
        return
    show_table(f"jobs of {config.name}", ("job", "state", "billed hours", "last word"), rows)
    say(f"billed so far: {in_words(billed_usd(config, jobs))}")


def _show_logs(aws: Aws, config: Config) -> None:
    for job in jobs_of_run(aws, config):
        say(f"{job['TrainingJobName']}: {job['TrainingJobStatus']}")
        for line in Log(aws, job["TrainingJobName"]).new_lines():
            say(f"  {line}")


def _fetch(aws: Aws, config: Config, plan: JobPlan) -> None:
    found = {stage: newest(aws, config, plan, stage) for stage in stages_of(config)}
    complete = [(stage, job) for stage, job in found.items() if job and job["TrainingJobStatus"] == "Completed"]
    if not complete:
        raise JobError(f"fetch: no job of {run_uri(config)} is complete with this run file")
    for stage, job in complete:
        fetch(aws, config, stage, job)


def _clean(aws: Aws, config: Config, yes: bool) -> None:
    if yes:
        clean(aws, config)
        return
    left = remains(aws, config)
    for what, names in (("stop", left.running), ("end the warm machines of", left.warm)):
        for name in names:
            say(f"clean: would {what} {name}")
    say(f"clean: would delete {len(left.keys):,} objects below {run_uri(config)}; --yes does it")


ON_SAGEMAKER = (*JOB_STAGES, "run")
"""The verbs that `--on sagemaker` knows."""
