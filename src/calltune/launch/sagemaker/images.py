"""Know a kind of machine: its processor, whether it has disks of its own, and AWS's PyTorch image for it."""

import re

from calltune.config.launch import DeployConfig, SageMakerConfig
from calltune.errors import ConfigError

# They are patched until July 2027, and hold PyTorch 2.12, Python 3.12; on a GPU CUDA 13.0, DeepSpeed and flash-attn.
_TAGS = {"gpu": "2.12-cu130-amzn2023-sagemaker", "cpu": "2.12-cpu-amzn2023-sagemaker"}

# vLLM 0.31.0 with CUDA 13.0, from `docs/src/data/vllm/0.31.0-gpu-sagemaker.yml` of aws/deep-learning-containers. Its
# entry point makes `--tool-call-parser hermes` of `SM_VLLM_TOOL_CALL_PARSER=hermes`, and a bare flag of `true`.
_VLLM = "vllm:0.31.0-gpu-py312-cu130-ubuntu24.04-sagemaker"

# AWS keeps its images in these accounts and under these domains. They are from the SDK's own table for PyTorch,
# sagemaker-core 2.27.0, `image_uri_config/pytorch-amzn2023.json`, and `ALTERNATE_DOMAINS` of `common_utils.py`. The
# same accounts stand in `docs/reference/region_availability.md` of aws/deep-learning-containers.
_USUAL_ACCOUNT = "763104351884"
_USUAL_REGIONS = {
    *("us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"),
    *("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3"),
    *("ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2"),
}
_ACCOUNTS = dict.fromkeys(_USUAL_REGIONS, _USUAL_ACCOUNT) | {
    "af-south-1": "626614931356",
    "ap-east-1": "871362719292",
    "ap-east-2": "975050140332",
    "ap-northeast-3": "364406365360",
    "ap-south-2": "772153158452",
    "ap-southeast-3": "907027046896",
    "ap-southeast-4": "457447274322",
    "ap-southeast-5": "550225433462",
    "ap-southeast-6": "633930458069",
    "ap-southeast-7": "590183813437",
    "ca-west-1": "204538143572",
    "cn-north-1": "727897471807",
    "cn-northwest-1": "727897471807",
    "eu-central-2": "380420809688",
    "eu-isoe-west-1": "371248457586",
    "eu-south-1": "692866216735",
    "eu-south-2": "503227376785",
    "eusc-de-east-1": "204133271717",
    "il-central-1": "780543022126",
    "me-central-1": "914824155844",
    "me-south-1": "217643126080",
    "me-west-1": "124382933778",
    "mx-central-1": "637423239942",
    "us-gov-east-1": "446045086412",
    "us-gov-west-1": "442386744353",
    "us-iso-east-1": "886529160074",
    "us-isob-east-1": "094389454867",
    "us-isof-east-1": "303241398832",
    "us-isof-south-1": "454834333376",
}
_DOMAINS = {
    "cn-north-1": "amazonaws.com.cn",
    "cn-northwest-1": "amazonaws.com.cn",
    "eu-isoe-west-1": "cloud.adc-e.uk",
    "eusc-de-east-1": "amazonaws.eu",
    "us-iso-east-1": "c2s.ic.gov",
    "us-isob-east-1": "sc2s.sgov.gov",
    "us-isof-east-1": "csp.hci.ic.gov",
    "us-isof-south-1": "csp.hci.ic.gov",
}

_CPU = re.compile(r"ml\.(t\d|[mcr]\d[a-z]*(-flex)?)\..+")
_GPU = re.compile(r"ml\.[gp]\d.*\..+")

# SageMaker trains on these, but the image does not run on them, for this reason.
_NOT_FOR_THE_IMAGE = (
    (re.compile(r"ml\.(trn|inf)\d.*"), "has AWS's own chips, for which there is another torch"),
    (re.compile(r"ml\.(p2|p3|p3dn)\..+"), "has a GPU that CUDA 13 no longer runs on"),
    (re.compile(r"ml\.p6e-gb\d+\..+"), "has an ARM processor"),
)

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/InstanceStorage.html: the others have disks of their own, which
# their hardware encrypts, and SageMaker refuses a key for a volume. A new type counts among those.
_WITHOUT_DISKS = re.compile(r"ml\.(t3|[mcr]\d(i|n)?(-flex)?|p2|p3)\..+")


def image_of(wanted: SageMakerConfig) -> str:
    """Return the image of the jobs: the run file's, or AWS's own for the region and the kind of machine.

    Raises:
        ConfigError: calltune knows none for them.
    """
    if wanted.image:
        return wanted.image
    device = device_of(wanted)
    return f"{_registry(wanted.region)}/pytorch:{_TAGS[device]}"


def serving_image_of(wanted: SageMakerConfig, endpoint: DeployConfig) -> str:
    """Return the image of the endpoint: the run file's, or AWS's own vLLM for the region.

    Raises:
        ConfigError: calltune knows none for the region, or AWS's does not run on the machine.
    """
    if endpoint.image:
        return endpoint.image
    if _device(endpoint.instance_type, "launch.sagemaker.deploy.instance_type") == "cpu":
        raise ConfigError(
            f"'launch.sagemaker.deploy.instance_type': {endpoint.instance_type} has no GPU, which vLLM's image needs"
        )
    return f"{_registry(wanted.region)}/{_VLLM}"


def _registry(region: str) -> str:
    if region not in _ACCOUNTS:
        raise ConfigError(
            f"'launch.sagemaker.region': where AWS keeps its images in '{region}' is not known; name an 'image'"
        )
    return f"{_ACCOUNTS[region]}.dkr.ecr.{region}.{_DOMAINS.get(region, 'amazonaws.com')}"


def device_of(wanted: SageMakerConfig) -> str:
    """Return what AWS's image for the machines computes on: `gpu` or `cpu`.

    Raises:
        ConfigError: the types differ in it, or the image does not run on one of them.
    """
    kinds = {kind: _device(kind) for kind in wanted.instance_types}
    if len(set(kinds.values())) > 1:
        named = " and ".join(kinds)
        raise ConfigError(f"'launch.sagemaker.instance_type': {named} need different images; name types of one kind")
    return kinds.popitem()[1]


def may_have_volume_key(wanted: SageMakerConfig) -> bool:
    """Say whether `kms_key` may stand for the machines' volumes: it may when none of the types has disks of its own."""
    return all(_WITHOUT_DISKS.fullmatch(kind) for kind in wanted.instance_types)


def _device(kind: str, key: str = "launch.sagemaker.instance_type") -> str:
    for pattern, why in _NOT_FOR_THE_IMAGE:
        if pattern.fullmatch(kind):
            raise ConfigError(f"'{key}': {kind} {why}; name an 'image' that is made for it")
    if _CPU.fullmatch(kind):
        return "cpu"
    if _GPU.fullmatch(kind):
        return "gpu"
    raise ConfigError(f"'{key}': which image {kind} takes is not known; name an 'image'")
