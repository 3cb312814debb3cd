"""What SageMaker refuses of a CreateTrainingJob request, by AWS's own words: the judge of the account on loopback.

Nothing of calltune is asked here. Types, fields, lengths, patterns and choices come from the service's model, which
botocore carries; the rules that hold between fields stand below, each with the sentence that says it. A sentence marked
`MODEL` stands in the documentation of botocore 1.44.5's model, and a test looks for it there; the others are from the
pages that are named.
"""

import functools
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.loaders import create_loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

MODEL = "botocore 1.44.5, sagemaker/2017-07-24/service-2.json"
Request = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """`breaks` says of a request whether it breaks what `sentence` says; `source` is where that stands."""

    sentence: str
    source: str
    breaks: Callable[[Request], bool]


# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/InstanceStorage.html, of the types that SageMaker trains on.
WITH_LOCAL_STORAGE = (
    *("g4dn", "g5", "g6", "g6e", "g7", "g7e", "r5d", "trn1", "trn1n", "trn2"),
    *("p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "p6-b300", "p6e-gb200"),
)


def _resources(request: Request) -> dict[str, Any]:
    return request.get("ResourceConfig", {})


def _preferences(request: Request) -> list[dict[str, Any]]:
    return _resources(request).get("InstancePreferences", [])


def _types(request: Request) -> list[str]:
    one = [_resources(request)["InstanceType"]] if "InstanceType" in _resources(request) else []
    return [*one, *(entry["InstanceType"] for entry in _preferences(request))]


def _bound(request: Request, name: str) -> int:
    return request.get("StoppingCondition", {}).get(name, 0)


def _is_spot(request: Request) -> bool:
    return bool(request.get("EnableManagedSpotTraining"))


def _counts_of_preferences(request: Request) -> bool:
    counts = ["InstanceCount" in entry for entry in _preferences(request)]
    in_all = "InstanceCount" in _resources(request)
    return bool(counts) and (any(counts) != all(counts) or all(counts) == in_all)


def _plan_of_other_type(request: Request) -> bool:
    """One plan is for one type: the same at two of them is wrong at one."""
    plans = [arn for entry in _preferences(request) for arn in entry.get("TrainingPlanArns", [])]
    return len(plans) > len(set(plans))


RULES = (
    Rule(
        "You can't request a VolumeKmsKeyId when using an instance type with local storage.",
        MODEL,
        lambda r: "VolumeKmsKeyId" in _resources(r) and any(t.split(".")[1] in WITH_LOCAL_STORAGE for t in _types(r)),
    ),
    Rule(
        "The VolumeKmsKeyId can be in any of the following formats: // KMS Key ID",
        MODEL,
        lambda r: "alias/" in _resources(r).get("VolumeKmsKeyId", ""),
    ),
    Rule(
        "InstancePreferences is mutually exclusive with InstanceType , InstanceGroups , InstancePlacementConfig , and "
        "EnableManagedSpotTraining",
        MODEL,
        lambda r: (
            bool(_preferences(r))
            and (_is_spot(r) or bool({"InstanceType", "InstanceGroups", "InstancePlacementConfig"} & {*_resources(r)}))
        ),
    ),
    Rule(
        "An instance type can appear only once in an InstancePreferences list.",
        MODEL,
        lambda r: len(_types(r)) > len(set(_types(r))),
    ),
    Rule(
        "SageMaker rejects requests that set InstanceCount on only some preferences, that set it both per preference "
        "and in ResourceConfig , or that omit it in both places.",
        MODEL,
        _counts_of_preferences,
    ),
    Rule("The plan's instance type must match InstanceType .", MODEL, _plan_of_other_type),
    Rule(
        "Per-preference TrainingPlanArns is mutually exclusive with the job-level TrainingPlanArn in ResourceConfig .",
        MODEL,
        lambda r: "TrainingPlanArn" in _resources(r) and any("TrainingPlanArns" in entry for entry in _preferences(r)),
    ),
    Rule(
        "It must be equal to or greater than MaxRuntimeInSeconds .",
        MODEL,
        lambda r: (
            (_is_spot(r) or "MaxWaitTimeInSeconds" in r.get("StoppingCondition", {}))
            and _bound(r, "MaxWaitTimeInSeconds") < _bound(r, "MaxRuntimeInSeconds")
        ),
    ),
    Rule("The maximum value is 28 days.", MODEL, lambda r: _bound(r, "MaxRuntimeInSeconds") > 28 * 24 * 3600),
    Rule(
        "The maximum time that a TrainingJob can run in total, including any time spent publishing metrics or "
        "archiving and uploading models after it has been stopped, is 30 days.",
        MODEL,
        lambda r: _bound(r, "MaxWaitTimeInSeconds") > 30 * 24 * 3600,
    ),
    Rule(
        "The maximum length of time, in seconds, that a managed Spot training job has to complete.",
        MODEL,
        lambda r: "MaxWaitTimeInSeconds" in r.get("StoppingCondition", {}) and not _is_spot(r),
    ),
    Rule(
        "You must specify either the algorithm name to the AlgorithmName parameter or the image URI of the algorithm "
        "container to the TrainingImage parameter.",
        MODEL,
        lambda r: not r.get("AlgorithmSpecification", {}).get("TrainingImage", "").strip(),
    ),
    Rule(
        "Tag keys must be unique per resource.",
        MODEL,
        lambda r: len({tag["Key"] for tag in r.get("Tags", [])}) < len(r.get("Tags", [])),
    ),
    Rule(
        "Do not use aws:, AWS:, or any upper or lowercase combination of such as a prefix for either keys or values.",
        "https://docs.aws.amazon.com/batch/latest/userguide/tag-restrictions.html, the same for every service's tags",
        lambda r: any(word.lower().startswith("aws:") for tag in r.get("Tags", []) for word in tag.values()),
    ),
)


@functools.cache
def model() -> ServiceModel:
    return ServiceModel(create_loader().load_service_model("sagemaker", "service-2"), "sagemaker")


@functools.cache
def documentation() -> str:
    """All that the model says in words of what a training job is asked for, without its marks of HTML."""
    shapes = ("CreateTrainingJobRequest", "ResourceConfig", "InstancePreference", "StoppingCondition", "Tag")
    shapes = (*shapes, "AlgorithmSpecification", "OutputDataConfig", "InstancePreferenceList", "Channel")
    texts = []
    for name in shapes:
        shape: Any = model().shape_for(name)
        texts += [shape.documentation, *(inner.documentation for inner in getattr(shape, "members", {}).values())]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", " ".join(texts))).split())


def broken(request: Request) -> Iterator[str]:
    """Everything that is wrong with a CreateTrainingJob request, in words."""
    shape = model().shape_for("CreateTrainingJobRequest")
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        yield report.generate_report()
        return
    yield from _out_of_bounds(request, shape, "")
    yield from (rule.sentence for rule in RULES if rule.breaks(request))


def _out_of_bounds(value: Any, shape: Any, where: str) -> Iterator[str]:
    """What botocore leaves to the service: upper bounds, patterns, choices."""
    bounds = shape.metadata
    if shape.type_name in ("string", "list", "map") and len(value) > bounds.get("max", len(value)):
        yield f"{where}: longer than {bounds['max']}"
    if shape.type_name in ("integer", "long") and value > bounds.get("max", value):
        yield f"{where}: above {bounds['max']}"
    if shape.type_name == "string":
        # Java's classes of Unicode, which Python spells otherwise.
        pattern = bounds.get("pattern", "(?s).*").replace(r"\p{L}\p{Z}\p{N}", r"\w\s")
        if not re.fullmatch(pattern, value):
            yield f"{where}: failed to satisfy constraint: {bounds['pattern']}"
        if shape.enum and value not in shape.enum:
            yield f"{where}: not one of the service's values"
    inside: list[tuple[Any, Any, Any]] = []
    if shape.type_name == "structure":
        inside = [(value[name], shape.members[name], name) for name in value]
    elif shape.type_name == "list":
        inside = [(each, shape.member, number) for number, each in enumerate(value)]
    elif shape.type_name == "map":
        inside = [pair for key in value for pair in ((key, shape.key, "key"), (value[key], shape.value, key))]
    for each, its_shape, name in inside:
        yield from _out_of_bounds(each, its_shape, f"{where}.{name}")
