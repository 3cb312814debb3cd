"""What is asked of SageMaker, against the service's own model, without any call."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.cli import main
from calltune.config.run_file import Config, load_config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.limits import problems, require_within_limits
from calltune.launch.sagemaker.plan import make_plan, stage_job
from calltune.launch.sagemaker.request import StageJob, job_name, training_job

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
NETWORK = 'subnets = ["subnet-1"]\nsecurity_groups = ["sg-1"]\nkms_key = "arn:aws:kms:us-east-1:123456789012:key/1"'
TABLES = {
    "plain": "",
    "spot": "spot = true\nmax_runtime_hours = 2\nmax_wait_hours = 3",
    "warm": "keep_alive_minutes = 30",
    "network": NETWORK,
    "preferences": 'instance_type = ["ml.p5.48xlarge", "ml.p4d.24xlarge"]\ninstance_count = 2',
    "plan": f'training_plan = "{ARN}:training-plan/mine"',
    "secret": 'secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hf"\ntags = {team = "a b"}',
}


def with_table(write: Callable[..., Path], more: str) -> Config:
    file = write(more)
    if "instance_type" in more:
        file.write_text(file.read_text().replace('instance_type = "ml.g5.2xlarge"\n', ""))
    return load_config(file)


def a_job(stage: str = "sft") -> StageJob:
    return StageJob(stage, "0123456789abcdef" * 4, {"code": "s3://b/code/", "data": "s3://b/data/"})


@pytest.mark.parametrize("more", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("stage", ["sft", "dpo", "evaluate"])
def test_sagemaker_would_take_every_kind(sagemaker_file: Callable[..., Path], more: str, stage: str) -> None:
    config = with_table(sagemaker_file, more)
    assert not list(problems(training_job(config, a_job(stage), 1)))


def test_a_request(sagemaker_file: Callable[..., Path]) -> None:
    request = training_job(with_table(sagemaker_file, TABLES["spot"]), a_job(), 3)
    assert request["TrainingJobName"] == "toy-sft-01234567-3"
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 10800}
    assert request["CheckpointConfig"] == {
        "S3Uri": "s3://toy-bucket/calltune/toy/checkpoints/sft-0123456789abcdef",
        "LocalPath": "/opt/ml/checkpoints",
    }
    assert request["OutputDataConfig"] == {
        "S3OutputPath": "s3://toy-bucket/calltune/toy/output",
        "CompressionType": "NONE",
    }
    assert request["AlgorithmSpecification"]["TrainingImage"].startswith("763104351884.dkr.ecr.us-east-1.")
    assert request["AlgorithmSpecification"]["ContainerArguments"][0].endswith("container.py sft /opt/ml")
    assert {"Key": "calltune-run", "Value": "toy-bucket/calltune/toy/"} in request["Tags"]


def test_several_machines_have_efa_and_evaluation_has_one(sagemaker_file: Callable[..., Path]) -> None:
    config = with_table(sagemaker_file, TABLES["preferences"])
    sft, evaluate = training_job(config, a_job(), 1), training_job(config, a_job("evaluate"), 1)
    assert sft["Environment"]["FI_PROVIDER"] == "efa"
    assert [entry["InstanceCount"] for entry in sft["ResourceConfig"]["InstancePreferences"]] == [2, 2]
    assert "FI_PROVIDER" not in evaluate["Environment"]
    assert evaluate["ResourceConfig"]["InstancePreferences"][0]["InstanceCount"] == 1


@pytest.mark.parametrize("name", ["a" * 200, "A.b_c", "9-", "x.-._"])
def test_any_name_of_a_run_makes_a_name_of_a_job(sagemaker_file: Callable[..., Path], name: str) -> None:
    config = load_config(sagemaker_file(), [f"name={name}"])
    request = training_job(config, a_job("evaluate"), 999)
    assert not list(problems(request))
    assert request["TrainingJobName"].endswith("-evaluate-01234567-999")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["TrainingJobName"], "a_b", "TrainingJobName: 'a_b' may not be written so"),
        (["TrainingJobName"], "a" * 64, "TrainingJobName: 64 long, at most 63"),
        (["Environment", "X"], "y" * 513, "Environment.X: 513 long, at most 512"),
        (["HyperParameters"], {"x": "y" * 2501}, "HyperParameters.x: 2,501 long, at most 2,500"),
        (["InputDataConfig"], [], "InputDataConfig: 0 long, at least 1"),
        (["ResourceConfig", "InstanceType"], "ml.x1.big", "ResourceConfig.InstanceType: there is no 'ml.x1.big'"),
        (["ResourceConfig", "KeepAlivePeriodInSeconds"], 21601, "21,601, at most 21,600"),
        (["ResourceConfig", "VolumeSizeInGb"], 1, "ResourceConfig.VolumeSizeInGb: there is no such field"),
        (["StoppingCondition", "MaxRuntimeInSeconds"], 1.5, "must be a integer, not 1.5"),
        (["StoppingCondition", "MaxWaitTimeInSeconds"], 5, "only on spot machines"),
        (["EnableManagedSpotTraining"], True, "must be at least MaxRuntimeInSeconds"),
        (["OutputDataConfig"], {}, "OutputDataConfig.S3OutputPath: is missing"),
        (["VpcConfig"], {"Subnets": ["s"] * 17, "SecurityGroupIds": ["g"]}, "VpcConfig.Subnets: 17 long, at most 16"),
    ],
)
def test_what_sagemaker_would_refuse(
    sagemaker_file: Callable[..., Path], path: list[str], value: object, message: str
) -> None:
    request = training_job(load_config(sagemaker_file()), a_job(), 1)
    *parents, last = path
    place = request
    for part in parents:
        place = place[part]
    place[last] = value
    with pytest.raises(ConfigError) as error:
        require_within_limits(request)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("spot = true\nkeep_alive_minutes = 5", "'spot' and 'keep_alive_minutes' do not go together"),
        ("max_wait_hours = 5", "'max_wait_hours' is for 'spot'"),
        ("spot = true\nmax_runtime_hours = 2\nmax_wait_hours = 1", "may not be less than 'max_runtime_hours'"),
        ('subnets = ["subnet-1"]', "'subnets' and 'security_groups' go together"),
        ("max_usd = 5", "'max_usd' needs 'price_per_hour'"),
        ("instance_typ = 1", "unknown key 'launch.sagemaker.instance_typ', did you mean 'instance_type'?"),
        ('model_s3 = "bucket/x"', "'launch.sagemaker.model_s3'"),
    ],
)
def test_mistakes_in_the_table(sagemaker_file: Callable[..., Path], more: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(sagemaker_file(more))
    assert message in str(error.value)


def test_a_stage_is_told_by_what_goes_into_it(prepared: Callable[..., Config]) -> None:
    plan = make_plan(prepared())
    for override, same, other in [
        ("dpo.learning_rate=1e-3", ["sft"], ["dpo", "evaluate"]),
        ("sft.learning_rate=1e-3", [], ["sft", "dpo", "evaluate"]),
        ("evaluate.benchmarks.1.max_new_tokens=9", ["sft", "dpo"], ["evaluate"]),
        ("launch.sagemaker.max_runtime_hours=3", ["sft", "dpo", "evaluate"], []),
        ("launch.sagemaker.instance_count=2", [], ["sft", "dpo", "evaluate"]),
        ("seed=5", [], ["sft", "dpo", "evaluate"]),
    ]:
        changed = make_plan(prepared(override)).identities
        assert [stage for stage in same if changed[stage] != plan.identities[stage]] == [], override
        assert [stage for stage in other if changed[stage] == plan.identities[stage]] == [], override


def test_the_archive_is_the_same_bytes_for_the_same_run_file(prepared: Callable[..., Config]) -> None:
    config = prepared()
    assert make_plan(config).archive == make_plan(config).archive
    assert make_plan(config).archive_key != make_plan(prepared("sft.learning_rate=1e-3")).archive_key


def test_the_model_before_is_a_channel(prepared: Callable[..., Config]) -> None:
    config = prepared()
    plan, made = make_plan(config), {"sft": "s3://b/sft/", "dpo": "s3://b/dpo/"}
    assert set(stage_job(config, plan, "sft", made).channels) == {"code", "data", "model"}
    assert stage_job(config, plan, "dpo", made).channels["sft"] == "s3://b/sft/"
    assert set(stage_job(config, plan, "evaluate", made).channels) == {"code", "data", "model", "sft", "dpo"}


def test_dry_run_prints_the_requests_and_asks_nobody(
    sagemaker_file: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert main(["run", str(sagemaker_file()), "--on", "sagemaker", "--dry-run"]) == 0
    text = capsys.readouterr().out
    requests, decoder = [], json.JSONDecoder()
    while (start := text.find("\n{")) >= 0:
        request, length = decoder.raw_decode(text[start + 1 :])
        requests.append(request)
        text = text[start + 1 + length :]
    assert [request["TrainingJobName"].split("-")[1] for request in requests] == ["sft", "dpo", "evaluate"]
    sft = next(c for c in requests[1]["InputDataConfig"] if c["ChannelName"] == "sft")
    name = requests[0]["TrainingJobName"]
    assert sft["DataSource"]["S3DataSource"]["S3Uri"].endswith(f"/output/{name}/output/model/")
    assert job_name(load_config(sagemaker_file()), "sft", name.split("-")[2], 1) == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "--on", "sagemaker"], "report runs on this machine; leave --on sagemaker out"),
        (["run", "--dry-run"], "--dry-run goes with --on sagemaker"),
        (["dpo", "--on", "sagemaker", 'stages=["sft"]'], "the run file has nothing for dpo to do"),
        (["sft", "--on", "sagemaker"], "manifest.json: is missing; run the stage before this one first"),
    ],
)
def test_mistakes_on_the_command_line(
    sagemaker_file: Callable[..., Path], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    verb, *others = words
    assert main([verb, str(sagemaker_file()), *others]) == 2
    assert message in capsys.readouterr().err


def test_without_the_table(write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(write_run_file()), "--on", "sagemaker"]) == 2
    assert "needs the table [launch.sagemaker]" in capsys.readouterr().err
