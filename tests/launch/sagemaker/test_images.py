"""Which image each kind of machine gets in each region, and whose volumes may have a key."""

from collections.abc import Callable
from pathlib import Path

import pytest
from aws_rules import WITH_LOCAL_STORAGE, model

from calltune.config.launch import SageMakerConfig
from calltune.config.run_file import load_config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.images import image_of, may_have_volume_key
from calltune.launch.sagemaker.request import StageJob, training_job

TYPES = model().shape_for("TrainingInstanceType").enum
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"

# As AWS's own page writes them, `docs/reference/region_availability.md` of aws/deep-learning-containers, and for
# regions of their own partitions the SDK's `pytorch-amzn2023.json`.
REGISTRIES = """
us-east-2 763104351884 amazonaws.com
us-east-1 763104351884 amazonaws.com
us-west-1 763104351884 amazonaws.com
us-west-2 763104351884 amazonaws.com
af-south-1 626614931356 amazonaws.com
ap-east-1 871362719292 amazonaws.com
ap-south-2 772153158452 amazonaws.com
ap-southeast-3 907027046896 amazonaws.com
ap-southeast-5 550225433462 amazonaws.com
ap-southeast-4 457447274322 amazonaws.com
ap-south-1 763104351884 amazonaws.com
ap-southeast-6 633930458069 amazonaws.com
ap-northeast-3 364406365360 amazonaws.com
ap-northeast-2 763104351884 amazonaws.com
ap-southeast-1 763104351884 amazonaws.com
ap-southeast-2 763104351884 amazonaws.com
ap-east-2 975050140332 amazonaws.com
ap-southeast-7 590183813437 amazonaws.com
ap-northeast-1 763104351884 amazonaws.com
ca-west-1 204538143572 amazonaws.com
ca-central-1 763104351884 amazonaws.com
eu-central-1 763104351884 amazonaws.com
eu-west-1 763104351884 amazonaws.com
eu-west-2 763104351884 amazonaws.com
eu-south-1 692866216735 amazonaws.com
eu-west-3 763104351884 amazonaws.com
eu-south-2 503227376785 amazonaws.com
eu-north-1 763104351884 amazonaws.com
eu-central-2 380420809688 amazonaws.com
il-central-1 780543022126 amazonaws.com
mx-central-1 637423239942 amazonaws.com
me-south-1 217643126080 amazonaws.com
me-west-1 124382933778 amazonaws.com
me-central-1 914824155844 amazonaws.com
sa-east-1 763104351884 amazonaws.com
cn-north-1 727897471807 amazonaws.com.cn
cn-northwest-1 727897471807 amazonaws.com.cn
us-gov-east-1 446045086412 amazonaws.com
us-gov-west-1 442386744353 amazonaws.com
eusc-de-east-1 204133271717 amazonaws.eu
"""


def wanted(region: str = "us-east-1", kind: str | list[str] = "ml.g5.2xlarge", **more: object) -> SageMakerConfig:
    role = "arn:aws:iam::123456789012:role/x"
    table = {"role": role, "bucket": "toy-bucket", "region": region, "instance_type": kind, **more}
    return SageMakerConfig.model_validate(table)


@pytest.mark.parametrize("line", REGISTRIES.strip().splitlines(), ids=lambda line: line.split()[0])
def test_the_image_of_a_region(line: str) -> None:
    region, registry, domain = line.split()
    image = image_of(wanted(region))
    assert image == f"{registry}.dkr.ecr.{region}.{domain}/pytorch:2.12-cu130-amzn2023-sagemaker"


def test_an_unknown_region_wants_an_image() -> None:
    with pytest.raises(ConfigError, match="where AWS keeps its images in 'xx-north-9' is not known; name an 'image'"):
        image_of(wanted("xx-north-9"))
    assert image_of(wanted("xx-north-9", image="1.dkr/mine:2")) == "1.dkr/mine:2"


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_the_service_has_an_image_or_a_line(kind: str) -> None:
    family = kind.split(".")[1]
    if family in ("trn1", "trn1n", "trn2", "p2", "p3", "p3dn", "p6e-gb200"):
        with pytest.raises(ConfigError, match=f"{kind} has .*; name an 'image' that is made for it"):
            image_of(wanted(kind=kind))
        assert image_of(wanted(kind=kind, image="mine:1")) == "mine:1"
    else:
        tag = "cu130" if family[0] in "gp" else "cpu"
        assert image_of(wanted(kind=kind)).endswith(f"/pytorch:2.12-{tag}-amzn2023-sagemaker")
    assert may_have_volume_key(wanted(kind=kind)) == (family not in WITH_LOCAL_STORAGE)


def test_one_image_for_all_types_of_a_list() -> None:
    with pytest.raises(ConfigError, match=r"ml.g5.xlarge and ml.m5.large need different images; name types"):
        image_of(wanted(kind=["ml.g5.xlarge", "ml.m5.large"]))
    assert "cu130" in image_of(wanted(kind=["ml.g5.xlarge", "ml.p5.48xlarge"]))


@pytest.mark.parametrize(("kind", "has_key"), [("ml.g5.2xlarge", False), ("ml.m5.xlarge", True)])
def test_a_key_where_it_may_stand(sagemaker_file: Callable[..., Path], kind: str, has_key: bool) -> None:
    config = load_config(sagemaker_file(f'kms_key = "{KEY}"'), [f"launch.sagemaker.instance_type={kind}"])
    request = training_job(config, StageJob("sft", "0" * 64, {"code": "s3://b/c/"}), 1)
    assert request["OutputDataConfig"]["KmsKeyId"] == KEY
    assert request["ResourceConfig"].get("VolumeKmsKeyId") == (KEY if has_key else None)
