"""What is billed: bounds that hold while jobs run and while others ask, and jobs that nobody wants any more."""

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from fake_aws import FakeAws, client
from moto.s3.models import s3_backends
from sagemaker_account import Toy, keys, wait_until

from calltune.cli import main
from calltune.config.run_file import Config
from calltune.errors import ConfigError, JobError
from calltune.launch.sagemaker.aws import Aws
from calltune.launch.sagemaker.cost import running_usd
from calltune.launch.sagemaker.jobs import jobs_of_run
from calltune.launch.sagemaker.plan import JobPlan, make_plan
from calltune.launch.sagemaker.submit import run_stages

AT_MOST_12 = "price_per_hour = 1.5\nmax_runtime_hours = 8\n"


@pytest.fixture
def ask(aws: Aws, toy_package: Path) -> Callable[..., None]:
    """Ask for the jobs of some stages and leave the first that is not complete to itself."""

    def run(config: Config, *stages: str) -> None:
        run_stages(aws, config, make_plan(config, toy_package, []), stages, detach=True)

    return run


def test_a_job_that_runs_counts_with_its_bound(
    fake: FakeAws, aws: Aws, prepared: Toy, ask: Callable[..., None]
) -> None:
    """Each job may take up to 12 USD: two are within the limit, three are not."""
    ask(prepared("sft.run_name=wait", more=f"{AT_MOST_12}max_usd = 36"), "sft")
    config = prepared("sft.run_name=wait", more=f"{AT_MOST_12}max_usd = 30")
    assert running_usd(config, jobs_of_run(aws, config)) == 12.0
    with pytest.raises(ConfigError) as error:
        ask(config, "sft", "dpo", "evaluate")
    assert str(error.value).startswith(
        "'launch.sagemaker.max_usd' is 30.00: dpo and evaluate may take up to 24.00 USD, what runs already up to 12.00"
    )
    assert len(fake.asked("CreateTrainingJob")) == 1


def test_it_is_looked_at_again_before_each_job(fake: FakeAws, toy: Toy, aws: Aws, toy_package: Path) -> None:
    """While the first job ran, somebody asked for another one of the run, with another run file."""
    config = toy("sft.max_steps=8", more=f"{AT_MOST_12}max_usd = 12")
    other = toy("sft.max_steps=9", "sft.run_name=wait", more=AT_MOST_12)
    plan = make_plan(config, toy_package, [])
    run_stages(aws, other, make_plan(other, toy_package, []), ["sft"], detach=True)
    with pytest.raises(ConfigError, match=r"sft may take up to 12.00 USD, what runs already up to 12.00"):
        run_stages(aws, config, plan, ["sft"])
    assert keys(fake, "/budget/") == []


@pytest.fixture
def at_once(fake: FakeAws, toy_package: Path) -> Callable[[Sequence[Config]], list[str]]:
    """Ask for the SFT jobs of several run files at once; "asked", or why not, for each."""

    def told(config: Config, plan: JobPlan) -> str:
        try:
            run_stages(Aws("us-east-1"), config, plan, ["sft"], detach=True)
            return "asked"
        except ConfigError as error:
            return str(error)

    def run(configs: Sequence[Config]) -> list[str]:
        plans = [make_plan(config, toy_package, []) for config in configs]
        with ThreadPoolExecutor(len(configs)) as commands:
            return sorted(commands.map(told, configs, plans))

    return run


def test_of_two_commands_at_once_one_is_refused(
    fake: FakeAws, toy: Toy, at_once: Callable[[Sequence[Config]], list[str]]
) -> None:
    """Two run files of one run, each with room for one job, that both look each time before either has asked."""
    gate, looks = threading.Barrier(2), itertools.count()
    # For jobs that nobody wants, for the run's cost, and once more before the job is asked for.
    fake.jobs.before_search = lambda: gate.wait(timeout=20) if next(looks) < 6 else None
    told = at_once([toy(f"sft.max_steps={n}", "sft.run_name=wait", more=f"{AT_MOST_12}max_usd = 20") for n in (8, 9)])
    assert len(fake.asked("CreateTrainingJob")) == 1
    assert told[1] == "asked"
    assert "what runs already up to 12.00" in told[0]


def test_as_many_are_asked_for_as_there_is_room_for(
    fake: FakeAws, toy: Toy, at_once: Callable[[Sequence[Config]], list[str]]
) -> None:
    """Also while SageMaker's search does not show the new jobs yet."""
    fake.jobs.hides_new_jobs = True
    configs = [toy(f"sft.max_steps={n}", "sft.run_name=wait", more=f"{AT_MOST_12}max_usd = 30") for n in range(10, 15)]
    told = at_once(configs)
    assert len(fake.asked("CreateTrainingJob")) == 2
    assert told.count("asked") == 2


def test_one_job_that_two_commands_ask_for_counts_once(
    fake: FakeAws, toy: Toy, at_once: Callable[[Sequence[Config]], list[str]]
) -> None:
    assert at_once([toy("sft.run_name=wait", more=f"{AT_MOST_12}max_usd = 12")] * 2) == ["asked"] * 2
    assert len(fake.jobs.records) == 1


def test_what_became_no_job_counts_for_a_while(fake: FakeAws, toy: Toy, ask: Callable[..., None]) -> None:
    """A command was ended between its entry and its request."""
    config = toy(more=f"{AT_MOST_12}max_usd = 12")
    place = {"Bucket": "toy-bucket", "Key": "calltune/toy/budget/000007.json"}
    s3 = client("s3", fake.jobs.url)
    s3.put_object(**place, Body=b'{"job": "toy-sft-0-1", "usd": 12.0}')
    with pytest.raises(ConfigError, match=r"what runs already up to 12.00"):
        ask(config, "sft")
    s3.put_object(**place, Body=b"[]")
    with pytest.raises(JobError, match=r"budget/000007.json: is no entry of calltune's; remove it"):
        ask(config, "sft")
    (entry,) = [
        key
        for name, bucket in s3_backends["123456789012"]["aws"].buckets.items()
        for key in bucket.keys.values()
        if key.name == place["Key"]
    ]
    entry.last_modified -= timedelta(minutes=16)
    ask(config, "sft")
    assert [key.rpartition("/")[2] for key in keys(fake, "/budget/")] == ["000007.json", "000008.json"]


def test_a_refused_job_takes_nothing_of_the_budget(fake: FakeAws, toy: Toy, ask: Callable[..., None]) -> None:
    fake.faults = {"CreateTrainingJob": [(400, "ResourceLimitExceeded", "The limit is 0")]}
    config = toy(more=f"{AT_MOST_12}max_usd = 20")
    with pytest.raises(JobError, match="ask for a higher quota"):
        ask(config, "sft")
    ask(toy("sft.max_steps=5", more=f"{AT_MOST_12}max_usd = 20"), "sft")
    assert len(fake.jobs.records) == 1


def test_a_job_that_the_run_file_no_longer_wants_is_named_and_can_be_stopped(
    fake: FakeAws,
    toy: Toy,
    ask: Callable[..., None],
    sagemaker_file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ask(toy("sft.run_name=wait"), "sft")
    (old,) = fake.jobs.records
    ask(toy("sft.run_name=wait", "sft.max_steps=9"), "sft")
    (new,) = fake.jobs.records.keys() - {old}
    warning = f"warning: job '{old}' runs and is billed, but this run file does not ask for it; "
    assert f"{warning}'calltune sagemaker stop-others' stops it" in capsys.readouterr().out
    wait_until(lambda: len(keys(fake, "step.txt")) == 2)

    def said(action: str, *others: str) -> str:
        words = [str(sagemaker_file()), 'stages=["sft"]', "sft.run_name=wait", *others]
        assert main(["sagemaker", action, *words]) == 0
        return capsys.readouterr().out

    assert warning in said("plan", "sft.max_steps=9")
    assert f"stop: stopping {old}" in said("stop-others", "sft.max_steps=9")
    states = {name: record["TrainingJobStatus"] for name, record in fake.jobs.records.items()}
    assert states == {old: "Stopped", new: "InProgress"}
    assert "no other job of s3://toy-bucket/calltune/toy/ runs" in said("stop-others", "sft.max_steps=9")
    assert f"stop: stopping {new}" in said("stop", "sft.max_steps=9")
    assert "stop: no job of" in said("stop", "sft.max_steps=9")
    assert keys(fake, "step.txt"), "what they wrote stays"


def test_detached_the_command_asks_for_one_job_after_the_other(
    fake: FakeAws, prepared: Toy, ask: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    config = prepared('stages=["sft", "dpo"]')
    ask(config, "sft", "dpo")
    (sft,) = fake.jobs.records
    said = capsys.readouterr().out
    assert f"sft: job {sft} is left to itself and billed until it ends; the same command goes on from here" in said
    wait_until(lambda: fake.jobs.records[sft]["TrainingJobStatus"] == "Completed")
    ask(config, "sft", "dpo")
    (dpo,) = fake.jobs.records.keys() - {sft}
    assert "-dpo-" in dpo
