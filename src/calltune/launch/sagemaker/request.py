"""Write what is asked of SageMaker as plain data: no call is made here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calltune.config.launch import OUR_TAGS, SageMakerConfig
from calltune.config.run_file import Config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.images import image_of, may_have_volume_key

JOB_STAGES = ("sft", "dpo", "grpo", "evaluate")
RUN_TAG, STAGE_TAG = OUR_TAGS
ROOT = "/opt/ml"
_LONGEST_NAME = 63
_DIGITS = 4

# The shell unpacks the code and becomes it: Python is then process 1, which SIGTERM reaches.
_BEGIN = (
    "mkdir -p {0}/code && tar -xzf {0}/input/data/code/code.tar.gz -C {0}/code && exec python3 {0}/code/container.py"
)

# Without a terminal a stage's progress says: "sft: 1,024/2,000 after 31 s loss 0.412".
LOSS = r"{stage}: [0-9,]+/[0-9,]+ after [0-9]+ s loss (-?[0-9]+\.[0-9]+)"
REWARD = r"{stage}: [0-9,]+/[0-9,]+ after [0-9]+ s loss -?[0-9]+\.[0-9]+, reward (-?[0-9]+\.[0-9]+)"

# It counts for a job that SageMaker itself fails; a container's own failure is not tried again.
_NUM_TRIES = 2

_MOST_HOURS_IN_ALL = 30 * 24

# These are the types of https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa.html that SageMaker trains on.
_WITH_EFA = re.compile(
    r"ml\.(p4d|p4de|p5|p5e|p5en|p6[a-z]?-[a-z0-9]+|trn1|trn1n|trn2)\..*|ml\.g(5|6|6e)\.(24|48)xlarge"
)
_EFA = {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1", "RDMAV_FORK_SAFE": "1"}


@dataclass(frozen=True, slots=True)
class StageJob:
    """One stage of a run as a job. `identity` is the hash of all that goes into it, `channels` say where that lies."""

    stage: str
    identity: str
    channels: Mapping[str, str]


def account(config: Config) -> SageMakerConfig:
    """Return `[launch.sagemaker]`.

    Raises:
        ConfigError: the run file has none.
    """
    if config.launch.sagemaker is None:
        raise ConfigError("'--on sagemaker' needs the table [launch.sagemaker]; see docs/sagemaker.md")
    return config.launch.sagemaker


def run_prefix(config: Config) -> str:
    """Return what the keys of all that a run keeps in its bucket begin with; it ends with a slash."""
    return f"{account(config).prefix}/{config.name}/"


def run_uri(config: Config) -> str:
    """Return `s3://bucket/prefix/<name>/`."""
    return f"s3://{account(config).bucket}/{run_prefix(config)}"


def run_tag(config: Config) -> str:
    """Return the value of the tag by which a run's jobs are found: another bucket or prefix is another run."""
    return f"{account(config).bucket}/{run_prefix(config)}"


def job_name(config: Config, stage: str, identity: str, number: int) -> str:
    """Return `<run>-<stage>-<hash>-<n>`; the run's name is cut where it is too long."""
    end = f"-{stage}-{identity[:8]}-"
    # All attempts have the same beginning, by which they are found.
    run = re.sub(r"[^A-Za-z0-9]+", "-", config.name)[: _LONGEST_NAME - len(end) - _DIGITS].strip("-")
    return f"{run}{end}{number}"


def checkpoints_uri(config: Config, job: StageJob) -> str:
    """Return where the job's checkpoints lie: every job with this identity goes on from them, and no other."""
    return f"{run_uri(config)}checkpoints/{job.stage}-{job.identity[:16]}"


def artefact_uri(config: Config, name: str) -> str:
    """Return where a job that is not there yet will leave its artefact, uncompressed."""
    return f"{run_uri(config)}output/{name}/output/model/"


def training_job(config: Config, job: StageJob, number: int) -> dict[str, Any]:
    """Write the CreateTrainingJob request of attempt `number`. No secret is in it, only the ARN of one."""
    wanted = account(config)
    request: dict[str, Any] = {
        "TrainingJobName": job_name(config, job.stage, job.identity, number),
        "RoleArn": wanted.role,
        "AlgorithmSpecification": {
            "TrainingImage": image_of(wanted),
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/bash", "-c"],
            "ContainerArguments": [f"{_BEGIN.format(ROOT)} {job.stage} {ROOT}"],
        },
        "InputDataConfig": [_channel(name, uri) for name, uri in job.channels.items()],
        "OutputDataConfig": {"S3OutputPath": f"{run_uri(config)}output", "CompressionType": "NONE"},
        "ResourceConfig": _resources(config, job.stage),
        "StoppingCondition": _bounds(wanted),
        "CheckpointConfig": {"S3Uri": checkpoints_uri(config, job), "LocalPath": f"{ROOT}/checkpoints"},
        "EnableManagedSpotTraining": wanted.spot,
        "RetryStrategy": {"MaximumRetryAttempts": _NUM_TRIES},
        "Environment": _environment(config, job.stage),
        "Tags": [
            {"Key": key, "Value": value}
            for key, value in {**wanted.tags, RUN_TAG: run_tag(config), STAGE_TAG: job.stage}.items()
        ],
    }
    if wanted.subnets:
        request["VpcConfig"] = {"Subnets": [*wanted.subnets], "SecurityGroupIds": [*wanted.security_groups]}
    if wanted.kms_key:
        request["OutputDataConfig"]["KmsKeyId"] = wanted.kms_key
        if may_have_volume_key(wanted):
            request["ResourceConfig"]["VolumeKmsKeyId"] = wanted.kms_key
    if job.stage != "evaluate":
        told = {"loss": LOSS, **({"reward": REWARD} if job.stage == "grpo" else {})}
        metrics = [
            {"Name": f"{job.stage}:{name}", "Regex": each.format(stage=job.stage)} for name, each in told.items()
        ]
        request["AlgorithmSpecification"]["MetricDefinitions"] = metrics
    if wanted.encrypt_traffic and machines(config, job.stage) > 1:
        request["EnableInterContainerTrafficEncryption"] = True
    if wanted.mlflow:
        names = {"MlflowExperimentName": config.tracking.experiment, "MlflowRunName": f"{config.name}-{job.stage}"}
        request["MlflowConfig"] = {"MlflowResourceArn": wanted.mlflow, **names}
    return request


def machines(config: Config, stage: str) -> int:
    """Return how many machines a stage's job has: evaluation gathers its answers on one."""
    return 1 if stage == "evaluate" else account(config).instance_count


def _channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def _resources(config: Config, stage: str) -> dict[str, Any]:
    wanted, count = account(config), machines(config, stage)
    resources: dict[str, Any] = {"VolumeSizeInGB": wanted.volume_gb}
    if len(wanted.instance_types) == 1:
        resources |= {"InstanceType": wanted.instance_types[0], "InstanceCount": count}
        if wanted.training_plan:
            resources["TrainingPlanArn"] = wanted.training_plan
    else:
        resources["InstancePreferences"] = [
            {"InstanceType": kind, "InstanceCount": count} for kind in wanted.instance_types
        ]
    if wanted.keep_alive_minutes:
        resources["KeepAlivePeriodInSeconds"] = wanted.keep_alive_minutes * 60
    return resources


def _bounds(wanted: SageMakerConfig) -> dict[str, int]:
    bounds = {"MaxRuntimeInSeconds": max(1, round(wanted.max_runtime_hours * 3600))}
    if wanted.spot:
        wait_hours = wanted.max_wait_hours or min(2 * wanted.max_runtime_hours, _MOST_HOURS_IN_ALL)
        bounds["MaxWaitTimeInSeconds"] = max(1, round(wait_hours * 3600))
    if wanted.max_pending_hours:
        bounds["MaxPendingTimeInSeconds"] = round(wanted.max_pending_hours * 3600)
    return bounds


def _environment(config: Config, stage: str) -> dict[str, str]:
    wanted = account(config)
    environment = {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    if wanted.secret:
        environment["CALLTUNE_SECRET_ARN"] = wanted.secret
    # Encrypted traffic goes over the ordinary network.
    over_efa = machines(config, stage) > 1 and not wanted.encrypt_traffic
    if over_efa and all(_WITH_EFA.fullmatch(kind) for kind in wanted.instance_types):
        environment |= _EFA
    return environment | wanted.environment
