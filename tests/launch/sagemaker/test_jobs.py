"""What befalls jobs, one scenario each, in an account on loopback whose machines run the container's own command."""

import json
import threading
from collections.abc import Callable

import pytest
from fake_aws import FakeAws, client
from fake_machine import Event
from sagemaker_account import Toy, artefact, at_step, keys, wait_until

from calltune.errors import ConfigError, JobError
from calltune.launch.sagemaker.aws import Aws
from calltune.launch.sagemaker.clean import clean, remains
from calltune.launch.sagemaker.fetch import fetch


def test_a_job_completes_and_is_fetched(
    fake: FakeAws, aws: Aws, toy: Toy, run_sft: Callable[..., dict], capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy(more="price_per_hour = 3.6")
    job = run_sft(config)
    text = capsys.readouterr().out
    assert "it costs at most 86.40 USD" in text
    assert "  sft: 4 steps" in text
    assert text.splitlines()[-1].endswith("is complete; it cost 0.06 USD")
    assert (fetch(aws, config, "sft", job) / "manifest.json").read_text() == '{"first": 0, "steps": 4}'
    assert not fetch(aws, config, "sft", job).with_name("sft.old-1").exists()


def test_spot_interruption_goes_on_from_its_checkpoint(
    fake: FakeAws, toy: Toy, run_sft: Callable[..., dict], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.jobs.events = [Event("interrupt", at_step(2))]
    job = run_sft(toy("sft.max_steps=12", more="spot = true"))
    assert artefact(fake, job)["first"] >= 2
    text = capsys.readouterr().out
    assert "sft: Interrupted: Training job interrupted" in text
    # The log of the second machine is another stream.
    assert text.index("from step 0") < text.index("calltune: stopped") < text.index("  sft: 12 steps")


def test_nothing_is_published_of_an_interrupted_life(fake: FakeAws, toy: Toy, run_sft: Callable[..., dict]) -> None:
    seen = []
    fake.jobs.events = [Event("interrupt", at_step(2))]
    fake.jobs.between_attempts = lambda machines: seen.append(keys(fake, "/output/"))
    run_sft(toy("sft.max_steps=12"))
    assert seen == [[]]


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("error", "failed: AlgorithmError: data/train.jsonl:7: 'tools' is missing"),
        ("raise", "failed: AlgorithmError: ValueError: loss is not a number"),
    ],
)
def test_a_failure_is_told_in_the_users_words(
    fake: FakeAws, toy: Toy, run_sft: Callable[..., dict], does: str, reason: str
) -> None:
    with pytest.raises(JobError) as error:
        run_sft(toy(f"sft.run_name={does}"))
    assert reason in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_killed_for_memory(fake: FakeAws, toy: Toy, run_sft: Callable[..., dict]) -> None:
    fake.jobs.events = [Event("kill", at_step(2))]
    with pytest.raises(JobError, match=r"killed by SIGKILL, exit code: 1 \(the machine's memory is full; take"):
        run_sft(toy("sft.max_steps=50"))


def test_the_next_attempt_goes_on_from_the_checkpoints(fake: FakeAws, toy: Toy, run_sft: Callable[..., dict]) -> None:
    config = toy("sft.run_name=raise")
    with pytest.raises(JobError):
        run_sft(config)
    job = run_sft(config)
    assert job["TrainingJobName"].endswith("-2")
    assert artefact(fake, job) == {"first": 3, "steps": 4}


def test_a_changed_run_file_does_not_resume_old_checkpoints(
    fake: FakeAws, toy: Toy, run_sft: Callable[..., dict]
) -> None:
    with pytest.raises(JobError):
        run_sft(toy("sft.run_name=raise"))
    job = run_sft(toy("sft.run_name=nothing"))
    assert job["TrainingJobName"].endswith("-1")
    assert artefact(fake, job)["first"] == 0


def test_stopped_by_somebody_is_no_success(fake: FakeAws, aws: Aws, toy: Toy, run_sft: Callable[..., dict]) -> None:
    def stop() -> None:
        wait_until(lambda: keys(fake, "step.txt"))
        aws.sagemaker.stop_training_job(TrainingJobName=next(iter(fake.jobs.records)))

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(JobError, match="stopped: stopped by you or somebody else; run again to go on"):
        run_sft(toy("sft.run_name=wait"))
    thread.join()
    assert keys(fake, "/output/") == []


def test_out_of_time_is_no_success(fake: FakeAws, toy: Toy, run_sft: Callable[..., dict]) -> None:
    config = toy("sft.run_name=wait", more="max_runtime_hours = 0.0006")
    with pytest.raises(JobError, match=r"stopped: MaxRuntimeExceeded \(raise 'max_runtime_hours'; run again"):
        run_sft(config)
    assert artefact(fake, run_sft(config))["first"] == 3


def test_a_live_job_is_joined_and_a_finished_one_taken(
    fake: FakeAws, toy: Toy, run_sft: Callable[..., dict], capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy("sft.max_steps=20")
    first = threading.Thread(target=run_sft, args=(config,))
    first.start()
    wait_until(lambda: fake.jobs.records)
    live = run_sft(config)
    first.join()
    done = run_sft(config)
    assert live["TrainingJobName"] == done["TrainingJobName"]
    assert len(fake.asked("CreateTrainingJob")) == 1
    text = capsys.readouterr().out
    assert "runs already" in text
    assert "is complete and unchanged, taken as it is" in text


def test_what_is_there_is_not_sent_again(fake: FakeAws, aws: Aws, toy: Toy, run_sft: Callable[..., dict]) -> None:
    config = toy("sft.run_name=raise")
    with pytest.raises(JobError):
        run_sft(config)
    listed = client("s3", fake.jobs.url).list_objects_v2
    before = {o["Key"]: o["LastModified"] for o in listed(Bucket="toy-bucket", Prefix="calltune/toy/")["Contents"]}
    run_sft(config)
    after = {o["Key"]: o["LastModified"] for o in listed(Bucket="toy-bucket", Prefix="calltune/toy/")["Contents"]}
    inputs = [key for key in before if "/data/" in key or "/code/" in key or "/model/" in key]
    assert len(inputs) > 5
    assert [after[key] for key in inputs] == [before[key] for key in inputs]


def test_throttling_and_server_errors_are_tried_again(fake: FakeAws, toy: Toy, run_sft: Callable[..., dict]) -> None:
    slower = (400, "ThrottlingException", "Rate exceeded")
    fake.faults = {
        "CreateTrainingJob": [slower, (500, "InternalFailure", "oops")],
        "DescribeTrainingJob": [slower, (503, "ServiceUnavailable", "later")],
        "ListTrainingJobs": [slower],
    }
    assert artefact(fake, run_sft(toy()))["steps"] == 4
    assert not any(fake.faults.values())


@pytest.mark.parametrize(
    ("code", "said", "message"),
    [
        ("ResourceLimitExceeded", "The account-level service limit is 0", "ask for a higher quota"),
        ("ValidationException", "Could not assume role arn:aws:iam::1:role/x", "check 'role'"),
        ("AccessDeniedException", "not authorized to perform: sagemaker:CreateTrainingJob", "the policy in docs"),
        ("ExpiredTokenException", "The security token is expired", "sign in again"),
    ],
)
def test_what_aws_refuses(
    fake: FakeAws, toy: Toy, run_sft: Callable[..., dict], code: str, said: str, message: str
) -> None:
    fake.faults = {"CreateTrainingJob": [(400, code, said)]}
    with pytest.raises(JobError) as error:
        run_sft(toy())
    assert f"was not accepted: {code}: {said} (" in str(error.value)
    assert message in str(error.value)


def test_too_dear_is_refused_before_anything_is_sent(fake: FakeAws, toy: Toy, run_sft: Callable[..., dict]) -> None:
    with pytest.raises(ConfigError, match=r"'launch.sagemaker.max_usd' is 10.00: sft may take up to 24.00 USD"):
        run_sft(toy(more="price_per_hour = 1.0\nmax_usd = 10"))
    assert keys(fake, "") == []
    assert fake.jobs.records == {}


def test_clean_stops_ends_and_deletes_and_nothing_else(
    fake: FakeAws, aws: Aws, toy: Toy, run_sft: Callable[..., dict]
) -> None:
    s3 = client("s3", fake.jobs.url)
    s3.put_object(Bucket="toy-bucket", Key="calltune/toy-2/x", Body=b"another run's")
    config = toy("sft.run_name=wait", more="keep_alive_minutes = 5")

    def be_stopped() -> None:
        with pytest.raises(JobError, match="stopped by you or somebody else"):
            run_sft(config)

    thread = threading.Thread(target=be_stopped)
    thread.start()
    wait_until(lambda: keys(fake, "step.txt"))
    left = remains(aws, config)
    assert left.running == list(fake.jobs.records)
    assert left.keys
    clean(aws, config)
    thread.join()
    record = fake.jobs.records[left.running[0]]
    assert record["TrainingJobStatus"] == "Stopped"
    assert record["WarmPoolStatus"] == {"Status": "Terminated"}
    assert keys(fake, "") == ["calltune/toy-2/x"]


def test_no_secret_is_seen_anywhere(
    fake: FakeAws,
    toy: Toy,
    run_sft: Callable[..., dict],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    planted = "hf_PLANTEDplantedPLANTED"
    monkeypatch.setenv("HF_TOKEN", planted)
    secrets = client("secretsmanager", fake.jobs.url)
    arn = secrets.create_secret(Name="hf", SecretString=planted)["ARN"]
    run_sft(toy(more=f'secret = "{arn}"'))
    assert "token <HF_TOKEN>" in capsys.readouterr().out
    s3, logs = client("s3", fake.jobs.url), client("logs", fake.jobs.url)
    stored = [s3.get_object(Bucket="toy-bucket", Key=key)["Body"].read() for key in keys(fake, "")]
    printed = logs.filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs")["events"]
    assert len(stored) > 5
    assert len(printed) > 4
    for seen in (json.dumps(fake.requests).encode(), json.dumps(printed).encode(), *stored):
        assert planted.encode() not in seen
