"""Say what a run costs: bounds of jobs that run or are still to be asked for, and what was billed of ended ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.deployment import endpoint_table
from calltune.launch.sagemaker.jobs import ENDED
from calltune.launch.sagemaker.request import account, machines


def most_usd(config: Config, stage: str) -> float | None:
    """Return the upper bound of one job in US dollars: all its time on all its machines. Without a price it is None."""
    wanted = account(config)
    if wanted.price_per_hour is None:
        return None
    return wanted.price_per_hour * machines(config, stage) * (wanted.max_runtime_hours + wanted.keep_alive_minutes / 60)


def machine_hours(job: Mapping[str, Any]) -> float:
    """Return the hours that were billed of a job, over all its machines; a job that runs was billed nothing yet."""
    return job.get("BillableTimeInSeconds", 0) * _num_machines(job) / 3600


def billed_usd(config: Config, jobs: Sequence[Mapping[str, Any]]) -> float | None:
    """Return what the jobs cost in US dollars, without warm machines between them. Without a price it is None."""
    price = account(config).price_per_hour
    return None if price is None else price * sum(machine_hours(job) for job in jobs)


def running_usd(config: Config, jobs: Sequence[Mapping[str, Any]]) -> float:
    """Return the upper bound in US dollars of those jobs that have not ended, by what each was asked for."""
    return sum(_most_hours(job) for job in jobs if _is_running(job)) * (account(config).price_per_hour or 0.0)


def require_affordable(
    config: Config, stages: Sequence[str], jobs: Sequence[Mapping[str, Any]], asked_usd: float = 0.0
) -> None:
    """Refuse what could take the run above `max_usd`.

    Args:
        stages: those whose jobs are still to be asked for.
        jobs: the run's jobs so far, also those that run.
        asked_usd: upper bound in US dollars of what is asked for just now, and not yet among the jobs.

    Raises:
        ConfigError: their upper bounds, those of what runs, and what was billed already come to more.
    """
    limit, billed = account(config).max_usd, billed_usd(config, [job for job in jobs if not _is_running(job)])
    if limit is None or billed is None:
        return
    most, running = sum(most_usd(config, stage) or 0.0 for stage in stages), running_usd(config, jobs) + asked_usd
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


def endpoint_price(config: Config) -> str:
    """Say what the machines of the run's endpoint cost for an hour.

    Raises:
        ConfigError: the run file has no table of an endpoint.
    """
    endpoint = endpoint_table(config)
    usd = None if endpoint.price_per_hour is None else endpoint.price_per_hour * endpoint.instance_count
    return f"{in_words(usd)} for each hour that it stands, on {endpoint.instance_count} x {endpoint.instance_type}"


def in_words(usd: float | None) -> str:
    """Write a sum for a reader."""
    return "an unknown sum, as 'price_per_hour' is not given" if usd is None else f"{usd:.2f} USD"
