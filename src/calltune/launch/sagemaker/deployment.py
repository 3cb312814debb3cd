"""Write what a deployed model is as plain data: a package in the registry, and an endpoint. No call is made here.

The flags of vLLM are those with which `calltune export` says that its model is to be served: the parser of calls, that
of thoughts, and the decoding that was measured.
"""

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltune.config.launch import DeployConfig
from calltune.config.run_file import Config
from calltune.errors import ConfigError, RunFolderError
from calltune.files.handed_on import ExportManifest, ReportFile
from calltune.files.hashes import value_sha256
from calltune.files.manifest import MANIFEST, read_manifest, require_sealed
from calltune.files.state import read_state
from calltune.launch.sagemaker.images import serving_image_of
from calltune.launch.sagemaker.limits import require_accepted
from calltune.launch.sagemaker.request import RUN_TAG, account, run_prefix, run_tag

MODEL_KEY = "calltune-model"
"""A package's own metadata names what it holds under this key."""

_LONGEST_NAME = 63
_SECONDS_TO_BEGIN = 1800

# Its driver runs CUDA 13.0, which AWS's vLLM is built with.
_MACHINE_IMAGE = "al2023-ami-sagemaker-inference-gpu-4-1"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Holds the exported folder, the keys below which it and its metrics are sent, and the requests by operation.

    `statistics` is None where the model was not measured.
    """

    name: str
    model: str
    approval: str
    has_call_parser: bool
    folder: Path
    model_key: str
    statistics: bytes | None
    statistics_key: str
    requests: Mapping[str, dict[str, Any]]


def endpoint_table(config: Config) -> DeployConfig:
    """Return `[launch.sagemaker.deploy]`.

    Raises:
        ConfigError: the run file has none.
    """
    table = account(config).deploy
    if table is None:
        raise ConfigError("'deploy' needs the table [launch.sagemaker.deploy]; see docs/sagemaker.md")
    return table


def plan_deployment(config: Config) -> Deployment:
    """Write the requests of CreateModelPackageGroup, CreateModelPackage, CreateModel and of the endpoint.

    Raises:
        CalltuneError: nothing is exported, it was altered or is not what was measured, or a request would be refused.
    """
    wanted, endpoint = account(config), endpoint_table(config)
    folder = Path(config.export.folder) if config.export and config.export.folder else config.run_folder / "export"
    if not (folder / MANIFEST).is_file():
        raise RunFolderError(f"{folder}: holds no exported model yet; run export first")
    require_sealed(folder)
    export = read_state(folder / MANIFEST, ExportManifest)
    model = value_sha256(export["sha256"])
    variables = vllm_variables(export["serve"])
    variables["SM_VLLM_SERVED_MODEL_NAME"] = config.name
    if endpoint.max_model_len:
        variables["SM_VLLM_MAX_MODEL_LEN"] = str(endpoint.max_model_len)
    model_key = f"{run_prefix(config)}deploy/{model[:16]}/"
    container = {
        "Image": serving_image_of(wanted, endpoint),
        "ModelDataSource": {
            "S3DataSource": {
                "S3Uri": f"s3://{wanted.bucket}/{model_key}",
                "S3DataType": "S3Prefix",
                "CompressionType": "None",
            }
        },
        "Environment": variables,
    }
    report = _report_of(config, export)
    approval, statistics = _approval(report, export["checkpoint"]), _statistics(report, export["checkpoint"])
    facts = json.dumps(statistics, indent=2, allow_nan=False).encode() if statistics else None
    statistics_key = f"{run_prefix(config)}deploy/metrics-{value_sha256(statistics)[:16]}.json"
    package = _package(config, container, export["checkpoint"], approval)
    if facts:
        source = {"ContentType": "application/json", "S3Uri": f"s3://{wanted.bucket}/{statistics_key}"}
        package["ModelMetrics"] = {"ModelQuality": {"Statistics": source}}
    package["CustomerMetadataProperties"][MODEL_KEY] = value_sha256(package)
    name, serving = _serving(config, container, endpoint)
    group = {
        "ModelPackageGroupName": package["ModelPackageGroupName"],
        "ModelPackageGroupDescription": f"Models of the calltune run {config.name}",
        "Tags": _tags(config),
    }
    requests = {"CreateModelPackageGroup": group, "CreateModelPackage": package, **serving}
    for operation, request in requests.items():
        require_accepted(operation, request)
    has_parser = "SM_VLLM_TOOL_CALL_PARSER" in variables
    return Deployment(name, config.name, approval, has_parser, folder, model_key, facts, statistics_key, requests)


def vllm_variables(command: str) -> dict[str, str]:
    """Return the flags of a `vllm serve` line as the image's variables; the folder of the line is left out.

    A flag without a value is `true`.
    """
    variables: dict[str, str] = {}
    words = shlex.split(command)[3:]
    for place, word in enumerate(words):
        if word.startswith("--"):
            after = words[place + 1 : place + 2]
            value = after[0] if after and not after[0].startswith("--") else "true"
            variables["SM_VLLM_" + word[2:].replace("-", "_").upper()] = value
    return variables


def names_begin(config: Config) -> str:
    """Return what the names of the run's models, endpoint configurations and endpoints begin with."""
    return f"{_base(config.name, _LONGEST_NAME - len('-deploy-') - 8)}-deploy-"


def _base(name: str, longest: int) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:longest].strip("-")


def _tags(config: Config) -> list[dict[str, str]]:
    tags = {**account(config).tags, RUN_TAG: run_tag(config)}
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _package(config: Config, container: dict[str, Any], checkpoint: str, approval: str) -> dict[str, Any]:
    # A package of a group takes the group's tags, and none of its own.
    return {
        "ModelPackageGroupName": _base(config.name, _LONGEST_NAME),
        "ModelPackageDescription": f"Checkpoint {checkpoint} of the calltune run {config.name}",
        "ModelApprovalStatus": approval,
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": [endpoint_table(config).instance_type],
        },
        "CustomerMetadataProperties": {RUN_TAG: run_tag(config), "calltune-checkpoint": checkpoint},
    }


def _serving(
    config: Config, container: dict[str, Any], endpoint: DeployConfig
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the one name of model, configuration and endpoint, by a hash of all that they are, and their requests."""
    wanted = account(config)
    model: dict[str, Any] = {"ExecutionRoleArn": wanted.role, "PrimaryContainer": container}
    if wanted.subnets:
        model["VpcConfig"] = {"Subnets": [*wanted.subnets], "SecurityGroupIds": [*wanted.security_groups]}
    variant: dict[str, Any] = {
        "VariantName": "AllTraffic",
        "InstanceType": endpoint.instance_type,
        "InitialInstanceCount": endpoint.instance_count,
        "ModelDataDownloadTimeoutInSeconds": _SECONDS_TO_BEGIN,
        "ContainerStartupHealthCheckTimeoutInSeconds": _SECONDS_TO_BEGIN,
    }
    if not endpoint.image:
        variant["InferenceAmiVersion"] = _MACHINE_IMAGE
    # Two runs of one name in one account may lie in two buckets.
    name = names_begin(config) + value_sha256([run_tag(config), model, variant])[:8]
    tags = _tags(config)
    return name, {
        "CreateModel": {"ModelName": name, **model, "Tags": tags},
        "CreateEndpointConfig": {
            "EndpointConfigName": name,
            "ProductionVariants": [{**variant, "ModelName": name}],
            "Tags": tags,
        },
        "CreateEndpoint": {"EndpointName": name, "EndpointConfigName": name, "Tags": tags},
    }


def _report_of(config: Config, export: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `report` wrote, or None where it wrote nothing.

    Raises:
        RunFolderError: a benchmark was asked of other weights than those that were exported.
    """
    path = config.run_folder / "report.json"
    if not path.is_file():
        return None
    checkpoint = export["checkpoint"]
    for title in config.benchmark_titles:
        folder = config.run_folder / "eval" / checkpoint / title
        is_measured = (folder / MANIFEST).is_file()
        if is_measured and read_manifest(folder)["inputs"].get("model") != export["inputs"]["model"]:
            raise RunFolderError(
                f"{folder}: is of another '{checkpoint}' than was exported; run export, evaluate and report again"
            )
    return read_state(path, ReportFile)


def _approval(report: Mapping[str, Any] | None, checkpoint: str) -> str:
    """Return what the gate says of the exported checkpoint, in the registry's words."""
    gate = report["gate"] if report else {}
    if gate.get("passed") is None or gate.get("checkpoint") != checkpoint:
        return "PendingManualApproval"
    verdict = report.get("verdict") if report else None
    if gate["passed"] and verdict and verdict["better"]:
        # The gate holds, but an earlier checkpoint is better: a person decides.
        return "PendingManualApproval"
    return "Approved" if gate["passed"] else "Rejected"


def _statistics(report: Mapping[str, Any] | None, checkpoint: str) -> dict[str, Any] | None:
    """Return the checkpoint's metrics as SageMaker's registry shows them, by `<benchmark>.<metric>`."""
    results = [row for row in report["results"] if row["checkpoint"] == checkpoint] if report else []
    values = {
        f"{row['benchmark']}.{name}": {"value": value, "standard_deviation": "NaN"}
        for row in results
        for name, value in row["metrics"].items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    return {"multiclass_classification_metrics": values} if values else None
