"""What is asked of SageMaker, against the service's own model, without any call."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aws_rules import broken

from calltune.cli import main
from calltune.config.run_file import Config, load_config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.limits import require_within_limits
from calltune.launch.sagemaker.plan import make_plan, stage_job
from calltune.launch.sagemaker.request import StageJob, job_name, training_job
from calltune.runtime.terminal import ProgressBar

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
TWO = 'instance_type = ["ml.p5.48xlarge", "ml.p4d.24xlarge"]'
NETWORK = 'subnets = ["subnet-1"]\nsecurity_groups = ["sg-1"]\nkms_key = "arn:aws:kms:us-east-1:123456789012:key/1"'
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
TABLES = {
    "plain": "",
    "spot": "spot = true\nmax_runtime_hours = 2\nmax_wait_hours = 3",
    "warm": "keep_alive_minutes = 30",
    "network": NETWORK,
    "preferences": 'instance_type = ["ml.p5.48xlarge", "ml.p4d.24xlarge"]\ninstance_count = 2',
    "encrypted": f"{TWO}\ninstance_count = 2\nencrypt_traffic = true\nmax_pending_hours = 1",
    "cpu and key": f'instance_type = "ml.m5.xlarge"\nkms_key = "{KEY}"',
    "mlflow": f'mlflow = "{ARN}:mlflow-tracking-server/mine"',
    "environment": 'environment = {PIP_INDEX_URL = "https://host/simple"}',
    "long": "spot = true\nmax_runtime_hours = 600",
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
    assert not list(broken(training_job(config, a_job(stage), 1)))


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
    # By their beginning a stage's attempts are found.
    first = training_job(config, a_job("evaluate"), 1)["TrainingJobName"]
    assert request["TrainingJobName"] == f"{first.removesuffix('1')}999"
    assert not list(broken(request))
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
        (f'{TWO}\ntraining_plan = "{ARN}:training-plan/mine"', "'training_plan' is for one 'instance_type', its own"),
        ('instance_type = ["ml.g5.xlarge", "ml.g5.xlarge"]', "'instance_type' names ml.g5.xlarge twice"),
        ("encrypt_traffic = true", "'encrypt_traffic' is for 'instance_count' above 1"),
        ('tags = {"aws:mine" = "x"}', "'aws:mine': AWS keeps what begins with 'aws:' for itself"),
        ('tags = {mine = "AWS:x"}', "'mine': AWS keeps what begins with 'aws:' for itself"),
        ('tags = {calltune-run = "x"}', "'calltune-run' is a tag of calltune's own"),
        ("spot = true\nmax_wait_hours = 2000", "'launch.sagemaker.max_wait_hours': input should be less than or equal"),
        ("volume_gb = 1_000_000_000", "'launch.sagemaker.volume_gb': input should be less than or equal to 16384"),
        ("instance_count = 1000", "'launch.sagemaker.instance_count': input should be less than or equal to 256"),
        ('image = ""', "'launch.sagemaker.image': string should match"),
        ('image = "a b"', "'launch.sagemaker.image': string should match"),
        ('kms_key = ""', "'launch.sagemaker.kms_key': string should match"),
        ('requirements = ["x @ https://me:pw@host/x.whl"]', "'launch.sagemaker.requirements.0'"),
        ('environment = {"A-B" = "x"}', "'launch.sagemaker.environment': 'A-B' cannot be the name of a variable"),
        ("environment = {X = 1}", "'launch.sagemaker.environment.X' must be a string of at most 512 characters"),
        ('environment = {CALLTUNE_SECRET_ARN = "x"}', "CALLTUNE_SECRET_ARN' is set by calltune or by SageMaker"),
    ],
)
def test_mistakes_in_the_table(sagemaker_file: Callable[..., Path], more: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        with_table(sagemaker_file, more)
    assert message in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "more",
    [
        'secret = "hf_PLANTED"',
        'secret = ["hf_PLANTED"]',
        'environment = {HF_TOKEN = "PLANTED"}',
        'environment = {SOME_API_KEY = "PLANTED"}',
        'environment = {PIP_INDEX_URL = "https://me:PLANTED@host/simple"}',
        'environment = {X = "hf_PLANTED0123456789abcd"}',
        'environment = "PLANTED"',
        'spot = true\nkeep_alive_minutes = 5\nmodel_s3 = "s3://bucket/PLANTED"',
    ],
)
def test_a_secret_is_refused_and_not_shown(sagemaker_file: Callable[..., Path], more: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(sagemaker_file(more))
    assert "launch.sagemaker" in str(error.value)
    assert "PLANTED" not in str(error.value)


def test_names_in_the_environment_that_only_look_alike(sagemaker_file: Callable[..., Path]) -> None:
    table = '{PIP_INDEX_URL = "https://host/simple", PIP_KEYRING_PROVIDER = "auto", NCCL_DEBUG = "INFO"}'
    config = load_config(sagemaker_file(f"environment = {table}"))
    assert training_job(config, a_job(), 1)["Environment"]["PIP_INDEX_URL"] == "https://host/simple"


def test_every_region_can_be_written(sagemaker_file: Callable[..., Path]) -> None:
    for region in ("eusc-de-east-1", "us-isob-east-1", "cn-northwest-1", "us-gov-east-1"):
        config = load_config(sagemaker_file(), [f"launch.sagemaker.region={region}"])
        assert f".{region}." in training_job(config, a_job(), 1)["AlgorithmSpecification"]["TrainingImage"]


def test_the_console_draws_the_loss(sagemaker_file: Callable[..., Path]) -> None:
    config = load_config(sagemaker_file())
    for stage in ("sft", "dpo"):
        (metric,) = training_job(config, a_job(stage), 1)["AlgorithmSpecification"]["MetricDefinitions"]
        assert metric["Name"] == f"{stage}:loss"
        found = re.search(metric["Regex"], f"{stage}: 1,007/12,000 after 24 s loss 1.247")
        assert found
        assert found[1] == "1.247"
        assert not re.search(metric["Regex"], f"{stage}: 7/12 after 24 s")
    assert "MetricDefinitions" not in training_job(config, a_job("evaluate"), 1)["AlgorithmSpecification"]


def test_progress_without_a_terminal_is_what_the_console_reads(
    sagemaker_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A job has no terminal: what took over two seconds gets a line at its end."""
    with ProgressBar("sft", 3) as bar:
        for _ in range(3):
            time.sleep(0.7)
            bar.advance(1, "loss 1.247")
    (metric,) = training_job(load_config(sagemaker_file()), a_job(), 1)["AlgorithmSpecification"]["MetricDefinitions"]
    assert re.findall(metric["Regex"], capsys.readouterr().out) == ["1.247"]


def test_mlflow_is_told_to_sagemaker(sagemaker_file: Callable[..., Path]) -> None:
    request = training_job(load_config(sagemaker_file(f'mlflow = "{ARN}:mlflow-app/mine"')), a_job("dpo"), 1)
    names = {"MlflowExperimentName": "calltune", "MlflowRunName": "toy-dpo"}
    assert request["MlflowConfig"] == {"MlflowResourceArn": f"{ARN}:mlflow-app/mine", **names}


def test_a_stage_is_told_by_what_goes_into_it(prepared: Callable[..., Config]) -> None:
    plan = make_plan(prepared())
    for override, same, other in [
        ("dpo.learning_rate=1e-3", ["sft"], ["dpo", "evaluate"]),
        ("sft.learning_rate=1e-3", [], ["sft", "dpo", "evaluate"]),
        ("evaluate.benchmarks.1.max_new_tokens=9", ["sft", "dpo"], ["evaluate"]),
        ("launch.sagemaker.max_runtime_hours=3", ["sft", "dpo", "evaluate"], []),
        ("launch.sagemaker.instance_count=2", [], ["sft", "dpo", "evaluate"]),
        ("data.group_by=tools", [], ["sft", "dpo", "evaluate"]),
        ('tuning.dpo={method="lora"}', ["sft"], ["dpo", "evaluate"]),
        ("seed=5", [], ["sft", "dpo", "evaluate"]),
        ("guard.num_questions=8", ["sft", "dpo", "evaluate"], []),
        ("guard.keep=best", [], ["sft", "dpo", "evaluate"]),
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
    shown = capsys.readouterr()
    assert "train.jsonl" in shown.err or "train " in shown.err, "prepare tells what it does, but not to a program"
    text, requests, decoder = shown.out.strip(), [], json.JSONDecoder()
    while text:
        request, length = decoder.raw_decode(text)
        requests.append(request)
        text = text[length:].strip()
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
