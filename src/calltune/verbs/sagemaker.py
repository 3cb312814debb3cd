"""Run the run file's stages as jobs (`--on sagemaker`), and look at them and clear away (`calltune sagemaker ACTION`).

`prepare` and `report` run here; what lies between them runs there.
"""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

from calltune.config.outcome import ExportConfig
from calltune.config.run_file import Config
from calltune.config.stages import stage_of
from calltune.errors import ConfigError, JobError
from calltune.launch.sagemaker.artefact import artefact_of
from calltune.launch.sagemaker.aws import Aws, require_bucket
from calltune.launch.sagemaker.clean import clean, remains, stop
from calltune.launch.sagemaker.cost import billed_usd, in_words, machine_hours, most_usd
from calltune.launch.sagemaker.fetch import fetch
from calltune.launch.sagemaker.follow import Log
from calltune.launch.sagemaker.jobs import jobs_of_run, unwanted
from calltune.launch.sagemaker.limits import require_within_limits
from calltune.launch.sagemaker.plan import JobPlan, describe, encryption_in_words, make_plan, stage_job, stages_of
from calltune.launch.sagemaker.request import JOB_STAGES, account, artefact_uri, job_name, run_uri, training_job
from calltune.launch.sagemaker.submit import newest, run_stages, tell_unwanted
from calltune.models.gguf_packages import require_packages
from calltune.runtime.terminal import say, show_table
from calltune.runtime.told import program_listens, tell_program
from calltune.verbs import prepare, report


def launch(config: Config, verb: str, dry_run: bool = False, detach: bool = False) -> Path:
    """Run a verb's stages as jobs, follow them, and, after `run`, bring what they made, report it, and export it.

    Args:
        dry_run: print the requests and send nothing; AWS is not asked.
        detach: ask for the next job that can be asked for, and leave it to itself.

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
        if config.export:
            _require_export(config, config.export)
        # What a dry run prints is its requests, for a program to read.
        with redirect_stdout(sys.stderr) if dry_run else nullcontext():
            prepare.run(config)
    plan = make_plan(config)
    if dry_run:
        _show_requests(config, plan, stages)
        return config.run_folder
    aws = Aws(wanted.region)
    require_bucket(aws, wanted.bucket)
    done = run_stages(aws, config, plan, stages, detach)
    if len(done) < len(stages):
        return config.run_folder
    if verb != "run":
        say("'calltune sagemaker fetch' brings what it made")
        return config.run_folder
    say(f"the run's jobs cost {in_words(billed_usd(config, done))}")
    for stage, job in zip(stages, done, strict=True):
        fetch(aws, config, stage, job)
    if "evaluate" in stages:
        report.run(config)
    if config.export:
        from calltune.verbs import export

        export.run(config)
    say("'calltune sagemaker clean' removes what is left in the account")
    return config.run_folder


def _require_export(config: Config, export: ExportConfig) -> None:
    """Refuse an export that cannot be made here of what the jobs train, before they are paid for."""
    trained = config.checkpoints[1:]
    checkpoint = export.checkpoint or (trained or ("",))[-1]
    if checkpoint not in trained:
        raise ConfigError(f"[export]: this run does not train {repr(checkpoint) if checkpoint else 'anything'}")
    if missing := [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]:
        raise ConfigError(
            f"[export] is made on this machine, which lacks {missing[0]}: pip install 'calltune[train]', or leave the "
            "table out"
        )
    require_packages(export.gguf)
    is_adapter = config.tuning.of(stage_of(checkpoint)).method == "lora"
    if account(config).model_s3 and is_adapter and config.trained_from(checkpoint) == "base":
        raise ConfigError(
            f"[export] holds the adapter of '{checkpoint}' against its base on this machine, and the base is "
            "'launch.sagemaker.model_s3'; leave the table out"
        )


def act(config: Config, action: str, yes: bool = False) -> None:
    """Do one of `plan`, `status`, `logs`, `fetch`, `stop`, `stop-others`, `clean`.

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
    elif action == "stop":
        _stop(aws, config, None)
    else:
        prepare.run(config)
        plan = make_plan(config)
        if action == "plan":
            _show_plan(aws, config, plan)
        elif action == "stop-others":
            _stop(aws, config, unwanted(aws, config, plan.identities))
        else:
            _fetch(aws, config, plan)


def _show_requests(config: Config, plan: JobPlan, stages: list[str]) -> None:
    """Print each request as JSON, and what else is to be said to stderr.

    Artefacts of jobs before lie where the first attempt would leave them.
    """
    names = {stage: job_name(config, stage, plan.identities[stage], 1) for stage in plan.identities}
    artefacts = {stage: artefact_uri(config, name) for stage, name in names.items()}
    requests = {}
    for stage in stages:
        requests[stage] = training_job(config, stage_job(config, plan, stage, artefacts), 1)
        require_within_limits(requests[stage])
        if not program_listens():
            say(json.dumps(requests[stage], indent=2, allow_nan=False))
    tell_program(requests=requests)
    if line := encryption_in_words(config):
        with redirect_stdout(sys.stderr):
            say(line)


def _show_plan(aws: Aws, config: Config, plan: JobPlan) -> None:
    rows, most = [], 0.0
    for stage in stages_of(config):
        job, bound = newest(aws, config, plan, stage), most_usd(config, stage)
        name = job["TrainingJobName"] if job else job_name(config, stage, plan.identities[stage], 1)
        state = job["TrainingJobStatus"] if job else "to be asked for"
        if job and state == "Completed" and artefact_of(aws, stage, job) is None:
            state = "Completed without what it should make"
        if state not in ("Completed", "to be asked for", "InProgress", "Stopping"):
            state += ", will go on as the next attempt"
        if state != "Completed":
            most += bound or 0.0
        rows.append((stage, name, state, describe(config, stage), in_words(bound).partition(",")[0]))
    show_table(f"jobs of {config.name} in {run_uri(config)}", ("", "job", "state", "machines", "costs at most"), rows)
    tell_unwanted(aws, config, plan)
    say(f"what is not complete costs at most {in_words(most if account(config).price_per_hour else None)}")


def _show_status(aws: Aws, config: Config) -> None:
    jobs = jobs_of_run(aws, config)
    rows = []
    for job in jobs:
        log = Log(aws, job["TrainingJobName"])
        lines = log.new_lines_if_any() if job["TrainingJobStatus"] == "InProgress" else []
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
    jobs = {stage: newest(aws, config, plan, stage) for stage in stages_of(config)}
    complete = [(stage, job) for stage, job in jobs.items() if job and job["TrainingJobStatus"] == "Completed"]
    if not complete:
        raise JobError(f"fetch: no job of {run_uri(config)} is complete with this run file")
    for stage, job in complete:
        fetch(aws, config, stage, job)


def _stop(aws: Aws, config: Config, names: list[str] | None) -> None:
    if not (remains(aws, config).running if names is None else names):
        say(f"stop: no {'job' if names is None else 'other job'} of {run_uri(config)} runs")
    stop(aws, config, names)


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
"""`--on sagemaker` knows these verbs."""
