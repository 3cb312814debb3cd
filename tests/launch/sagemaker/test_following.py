"""A job that is followed goes on whatever becomes of the one who follows it, and that is said."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_aws import FakeAws, client
from fake_machine import Event
from sagemaker_account import RunSft, Toy, artefact, keys, wait_until

from calltune.errors import CalltuneError, ConfigError, JobError
from calltune.launch.sagemaker.aws import Aws
from calltune.launch.sagemaker.follow import follow

GOES_ON = "goes on and is billed until it ends: the same command follows it again, 'calltune sagemaker stop' stops it"
DENIED = (400, "AccessDeniedException", "User is not authorized to perform: logs:GetLogEvents")


@contextmanager
def once_it_steps(fake: FakeAws, do: Callable[[], object]) -> Iterator[None]:
    """Do something when the job has written its first step."""

    def act() -> None:
        wait_until(lambda: keys(fake, "step.txt"))
        do()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ((400, "ExpiredTokenException", "The security token is expired"), "is expired (sign in again)"),
        ((400, "AccessDeniedException", "not authorized"), "the policy in docs/sagemaker.md lists what is needed"),
        ((500, "InternalFailure", "oops"), "InternalFailure: oops"),
    ],
    ids=["expired credentials", "denied", "an outage"],
)
def test_who_may_no_longer_look_is_told_that_the_job_goes_on(
    fake: FakeAws, toy: Toy, run_sft: RunSft, code: tuple[int, str, str], said: str
) -> None:
    config = toy("sft.max_steps=20")
    with (
        once_it_steps(fake, lambda: fake.denied.update(DescribeTrainingJob=code)),
        pytest.raises(JobError) as error,
    ):
        run_sft(config)
    (name,) = fake.jobs.records
    assert said in str(error.value)
    assert str(error.value).endswith(f"; job '{name}' {GOES_ON}")
    assert len(str(error.value).splitlines()) == 1
    fake.denied.clear()
    assert run_sft(config)["TrainingJobName"] == name
    assert len(fake.asked("CreateTrainingJob")) == 1


def test_without_a_network_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(JobError, match="Could not connect to the endpoint URL") as error:
        follow(Aws("us-east-1", num_tries=1), "sft", "toy-sft-1")
    assert str(error.value).endswith(f"job 'toy-sft-1' {GOES_ON}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_job_running_and_says_so(
    fake: FakeAws, toy: Toy, sagemaker_file: Callable[..., Path], number: int, code: int
) -> None:
    toy()
    # The job runs for as long as it is let, however late the signal comes.
    fake.jobs.wrap = lambda root, command: ["tail", "-f", "/dev/null"]
    words = [str(sagemaker_file()), 'stages=["sft"]', "--on", "sagemaker"]
    command = [sys.executable, "-m", "calltune", "sft", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        wait_until(lambda: fake.asked("DescribeTrainingJob"))
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
    assert process.returncode == code
    (name,) = fake.jobs.records
    assert f"job '{name}' {GOES_ON}" in out.splitlines()
    assert "calltune: interrupted; 'calltune sft" in error
    assert fake.jobs.records[name]["TrainingJobStatus"] == "InProgress"


@pytest.mark.parametrize("operation", ["DescribeLogStreams", "GetLogEvents"])
def test_a_log_that_may_not_be_read_is_a_warning(
    fake: FakeAws, toy: Toy, run_sft: RunSft, capsys: pytest.CaptureFixture[str], operation: str
) -> None:
    fake.denied = {operation: DENIED}
    assert artefact(fake, run_sft(toy()))["steps"] == 4
    said = capsys.readouterr().out
    assert said.count("warning: log of 'toy-sft-") == 1
    assert "logs:GetLogEvents (the policy in docs/sagemaker.md lists what is needed); the job is followed" in said


def test_the_reply_that_is_lost_makes_no_second_job(fake: FakeAws, toy: Toy, run_sft: RunSft) -> None:
    fake.lost = ["CreateTrainingJob"]
    assert artefact(fake, run_sft(toy()))["steps"] == 4
    assert len(fake.asked("CreateTrainingJob")) == 2
    assert len(fake.jobs.records) == 1


def test_without_any_reply_the_job_may_be_there(fake: FakeAws, toy: Toy, run_sft: RunSft) -> None:
    config = toy(more="price_per_hour = 1.0\nmax_runtime_hours = 8\nmax_usd = 10")
    fake.denied = {"CreateTrainingJob": (500, "InternalFailure", "oops")}
    with pytest.raises(JobError, match=r"InternalFailure: oops; job 'toy-sft-.*-1' may have been accepted"):
        run_sft(config)
    # What it may take is not given to another job.
    with pytest.raises(ConfigError, match=r"what runs already up to 8\.00"):
        run_sft(toy("sft.max_steps=5", more="price_per_hour = 1.0\nmax_runtime_hours = 8\nmax_usd = 10"))


def test_s3_is_tried_again(fake: FakeAws, toy: Toy, run_sft: RunSft) -> None:
    later = (503, "SlowDown", "Please reduce your request rate")
    fake.faults = {"PutObject": [later] * 2, "ListObjectsV2": [later] * 2}
    assert artefact(fake, run_sft(toy()))["steps"] == 4
    assert not any(fake.faults.values())


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        ("PutObject", "PutObject operation: no (the policy in docs/sagemaker.md lists what is needed)"),
        ("ListObjectsV2", "AccessDenied: no (the policy in docs/sagemaker.md lists what is needed)"),
    ],
    ids=["put", "list"],
)
def test_a_bucket_that_may_not_be_used_costs_nothing(
    fake: FakeAws, toy: Toy, run_sft: RunSft, operation: str, told: str
) -> None:
    fake.denied = {operation: (403, "AccessDenied", "no")}
    with pytest.raises(CalltuneError) as error:
        run_sft(toy())
    assert told in str(error.value)
    assert not fake.jobs.records


def test_no_capacity(fake: FakeAws, toy: Toy, run_sft: RunSft) -> None:
    fake.jobs.events = [Event("capacity", lambda root: True)]
    config = toy()
    with pytest.raises(JobError, match=r"failed: CapacityError: .* \(no such machine is free; name several in"):
        run_sft(config)
    assert run_sft(config)["TrainingJobName"].endswith("-2")


def test_what_is_put_is_encrypted_with_the_key(fake: FakeAws, toy: Toy, run_sft: RunSft) -> None:
    key = client("kms", fake.jobs.url).create_key()["KeyMetadata"]["Arn"]
    run_sft(toy(more=f'kms_key = "{key}"\nprice_per_hour = 1.0\nmax_usd = 100'))
    own = ("budget/", "code/", "data/", "model/")
    ours = [put for put in fake.puts if put[0].startswith(tuple(f"calltune/toy/{name}" for name in own))]
    assert {name.split("/")[2] for name, *_ in ours} == {"budget", "code", "data", "model"}
    assert {tuple(asked) for _, *asked in ours} == {("aws:kms", key)}
