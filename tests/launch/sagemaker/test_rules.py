"""The judge of the account on loopback: its sentences are AWS's, and each of its rules refuses something."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from aws_rules import MODEL, RULES, Rule, broken, documentation

GOOD: dict[str, Any] = {
    "TrainingJobName": "toy-sft-1",
    "RoleArn": "arn:aws:iam::123456789012:role/toy",
    "AlgorithmSpecification": {"TrainingImage": "mine:1", "TrainingInputMode": "File"},
    "OutputDataConfig": {"S3OutputPath": "s3://toy/output"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}
PLAN = "arn:aws:sagemaker:us-east-1:123456789012:training-plan/mine"
TWO = [{"InstanceType": kind, "InstanceCount": 1} for kind in ("ml.p5.48xlarge", "ml.p4d.24xlarge")]


def resources(**changed: Any) -> Callable[[dict[str, Any]], None]:
    return lambda request: request["ResourceConfig"].update(changed)


def preferences(*entries: dict[str, Any], **others: Any) -> Callable[[dict[str, Any]], None]:
    return lambda request: request.update(ResourceConfig={"InstancePreferences": [*entries], **others})


def bounds(spot: bool = False, **seconds: int) -> Callable[[dict[str, Any]], None]:
    return lambda request: request.update(StoppingCondition=seconds, EnableManagedSpotTraining=spot)


def tags(*pairs: tuple[str, str]) -> Callable[[dict[str, Any]], None]:
    return lambda request: request.update(Tags=[{"Key": key, "Value": value} for key, value in pairs])


BREAKS: list[Callable[[dict[str, Any]], None]] = [
    resources(InstanceType="ml.g5.2xlarge", VolumeKmsKeyId="1234"),
    resources(VolumeKmsKeyId="alias/mine"),
    preferences(*TWO, InstanceType="ml.m5.xlarge"),
    preferences(*TWO, TWO[0]),
    preferences({"InstanceType": "ml.p5.48xlarge"}, TWO[1]),
    preferences(*({**entry, "TrainingPlanArns": [PLAN]} for entry in TWO)),
    preferences({**TWO[0], "TrainingPlanArns": [PLAN]}, TrainingPlanArn=PLAN),
    bounds(spot=True, MaxRuntimeInSeconds=60, MaxWaitTimeInSeconds=59),
    bounds(MaxRuntimeInSeconds=28 * 24 * 3600 + 1),
    bounds(spot=True, MaxRuntimeInSeconds=60, MaxWaitTimeInSeconds=2000 * 3600),
    bounds(MaxRuntimeInSeconds=60, MaxWaitTimeInSeconds=60),
    lambda request: request["AlgorithmSpecification"].update(TrainingImage=" "),
    tags(("a", "1"), ("a", "2")),
    tags(("aws:mine", "1")),
]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.source == MODEL], ids=lambda rule: rule.sentence[:40])
def test_the_sentence_stands_in_the_service_model(rule: Rule) -> None:
    assert rule.sentence in documentation()


def test_a_good_request_breaks_nothing() -> None:
    assert list(broken(GOOD)) == []


@pytest.mark.parametrize(("rule", "spoil"), [*zip(RULES, BREAKS, strict=True)], ids=[r.sentence[:40] for r in RULES])
def test_each_rule_refuses_what_breaks_it(rule: Rule, spoil: Callable[[dict[str, Any]], None]) -> None:
    request = copy.deepcopy(GOOD)
    spoil(request)
    assert rule.sentence in list(broken(request))
