"""How a job ends, as AWS reads its container's exit code, and what the next command makes of it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_aws import FakeAws, client
from fake_machine import Event
from sagemaker_account import RunSft, Toy, artefact, at_step, keys, wait_until

from calltune.errors import JobError
from calltune.launch.sagemaker.archive import SCRIPTS

SOURCE = Path(__file__).parents[3] / "src" / "calltune" / "launch" / "sagemaker"


def test_a_signal_from_elsewhere_is_a_failure_with_a_next_attempt(
    fake: FakeAws, toy: Toy, run_sft: RunSft, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy("sft.max_steps=12")
    fake.jobs.events = [Event("sigterm", at_step(2))]
    with pytest.raises(JobError) as error:
        run_sft(config)
    assert str(error.value).endswith(
        "failed: AlgorithmError: it was asked to stop before its end, exit code: 143 "
        "(run again to go on from its checkpoint)"
    )
    assert keys(fake, "/output/") == []
    assert "is complete" not in capsys.readouterr().out
    job = run_sft(config)
    assert job["TrainingJobName"].endswith("-2")
    assert artefact(fake, job)["first"] >= 2


def test_a_stage_that_ends_as_the_signal_comes_is_handed_over(fake: FakeAws, toy: Toy, run_sft: RunSft) -> None:
    job = run_sft(toy('sft.run_name="end as the signal comes"'))
    assert job["TrainingJobStatus"] == "Completed"
    assert artefact(fake, job) == {"first": 0, "steps": 4}


def test_before_there_is_a_stage_the_signal_is_no_success(tmp_path: Path) -> None:
    """Here while it waits for the first of two machines."""
    for name in SCRIPTS:
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code" / name).write_bytes((SOURCE / name).read_bytes())
    (tmp_path / "code" / "requirements.txt").touch()
    (tmp_path / "code" / "needs.json").write_text("{}")
    (tmp_path / "code" / "config.json").write_text(json.dumps({"name": "toy", "model": "m"}))
    (tmp_path / "input" / "config").mkdir(parents=True)
    machines = {"hosts": ["nowhere.invalid", "nowhere.invalid-2"], "current_host": "nowhere.invalid-2"}
    (tmp_path / "input" / "config" / "resourceconfig.json").write_text(json.dumps(machines))
    process = subprocess.Popen([sys.executable, tmp_path / "code" / "container.py", "sft", tmp_path])
    try:
        wait_until(lambda: (tmp_path / "checkpoints" / "toy" / "config.json").exists())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    finally:
        process.kill()
    assert "asked to stop before its end" in (tmp_path / "output" / "failure").read_text()
    assert not (tmp_path / "model").exists()


def test_complete_without_a_model_is_a_failed_attempt(
    fake: FakeAws, toy: Toy, run_sft: RunSft, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy("sft.max_steps=12", more="price_per_hour = 3.6")
    fake.jobs.events = [Event("vanish", at_step(2))]
    with pytest.raises(JobError, match=r"ended as complete, but left no whole sft; it cost 0.06 USD; run again"):
        run_sft(config)
    assert "is complete" not in capsys.readouterr().out
    job = run_sft(config)
    assert job["TrainingJobName"].endswith("-2")
    assert artefact(fake, job)["first"] >= 2
    assert "is complete, but what it made is not there; it counts as failed" in capsys.readouterr().out


@pytest.mark.parametrize("left", ["", "manifest.json"], ids=["all of it", "its last file"])
def test_an_artefact_that_was_removed_is_made_again(
    fake: FakeAws, toy: Toy, run_sft: RunSft, aws: object, left: str
) -> None:
    config = toy()
    first = run_sft(config)
    for key in keys(fake, f"/output/{first['TrainingJobName']}/"):
        if key.endswith(left):
            client("s3", fake.jobs.url).delete_object(Bucket="toy-bucket", Key=key)
    second = run_sft(config)
    assert second["TrainingJobName"].endswith("-2")
    assert artefact(fake, second) == {"first": 4, "steps": 4}


def test_stopped_as_asked_stays_stopped(fake: FakeAws, toy: Toy, run_sft: RunSft) -> None:
    config = toy("sft.run_name=wait", more="max_runtime_hours = 0.0006")
    with pytest.raises(JobError, match="stopped: MaxRuntimeExceeded"):
        run_sft(config)
    (record,) = fake.jobs.records.values()
    assert (record["TrainingJobStatus"], record["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
