"""What a run costs: an upper bound before a job is asked for, and what was billed after it ended."""

from collections.abc import Sequence
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.request import account, machines


def most_usd(config: Config, stage: str) -> float | None:
    """Upper bound of one job in US dollars: all of its time on all its machines; None without a price."""
    wanted = account(config)
    if wanted.price_per_hour is None:
        return None
    return wanted.price_per_hour * machines(config, stage) * (wanted.max_runtime_hours + wanted.keep_alive_minutes / 60)


def machine_hours(job: dict[str, Any]) -> float:
    """What was billed of a job, over all its machines; a job that runs has been billed nothing yet."""
    resources = job["ResourceConfig"]
    preferred = resources.get("InstancePreferences", [{}])[0].get("InstanceCount", 1)
    count = resources.get("SelectedInstanceCount") or resources.get("InstanceCount") or preferred
    return job.get("BillableTimeInSeconds", 0) * count / 3600


def billed_usd(config: Config, jobs: Sequence[dict[str, Any]]) -> float | None:
    """What the jobs cost in US dollars, warm machines between them apart; None without a price."""
    price = account(config).price_per_hour
    return None if price is None else price * sum(machine_hours(job) for job in jobs)


def require_affordable(config: Config, stages: Sequence[str], before: Sequence[dict[str, Any]]) -> None:
    """Refuse what could take the run above `max_usd`.

    Args:
        stages: those whose jobs are still to be asked for.
        before: the run's jobs so far.

    Raises:
        ConfigError: their upper bounds and what was billed already come to more.
    """
    limit, billed = account(config).max_usd, billed_usd(config, before)
    if limit is None or billed is None:
        return
    most = sum(most_usd(config, stage) or 0.0 for stage in stages)
    if billed + most > limit:
        raise ConfigError(
            f"'launch.sagemaker.max_usd' is {limit:.2f}: {' and '.join(stages)} may take up to {most:.2f} USD, and "
            f"{billed:.2f} were billed before; lower 'max_runtime_hours' or raise it"
        )


def in_words(usd: float | None) -> str:
    """A sum for a reader."""
    return "unknown, as 'price_per_hour' is not given" if usd is None else f"{usd:.2f} USD"
