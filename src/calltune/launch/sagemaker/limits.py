"""Hold a request against the service's own model, which botocore carries, before anything is sent."""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from calltune.errors import ConfigError


def require_within_limits(request: Mapping[str, Any]) -> None:
    """Check a CreateTrainingJob request: names, types, what is required, lengths, counts, patterns, choices.

    Raises:
        ConfigError: the first thing that SageMaker would refuse.
    """
    for problem in problems(request):
        raise ConfigError(f"SageMaker would refuse the job: {problem}")


def require_accepted(operation: str, request: Mapping[str, Any]) -> None:
    """Check the request of any other operation by the model alone.

    Raises:
        ConfigError: the first thing that SageMaker would refuse.
    """
    for problem in _problems(request, _model().operation_model(operation).input_shape, ""):
        raise ConfigError(f"SageMaker would refuse {operation}: {problem}")


def problems(request: Mapping[str, Any]) -> Iterator[str]:
    """Yield all that is wrong with a CreateTrainingJob request, by the model and by what its documentation adds."""
    yield from _problems(request, _model().shape_for("CreateTrainingJobRequest"), "")
    bounds, resources = request["StoppingCondition"], request["ResourceConfig"]
    if request.get("EnableManagedSpotTraining"):
        if bounds.get("MaxWaitTimeInSeconds", 0) < bounds["MaxRuntimeInSeconds"]:
            yield "StoppingCondition.MaxWaitTimeInSeconds: must be at least MaxRuntimeInSeconds on spot machines"
        if "InstancePreferences" in resources:
            yield "ResourceConfig.InstancePreferences: not on spot machines"
    elif "MaxWaitTimeInSeconds" in bounds:
        yield "StoppingCondition.MaxWaitTimeInSeconds: only on spot machines"
    if ("InstanceType" in resources) == ("InstancePreferences" in resources):
        yield "ResourceConfig: either InstanceType or InstancePreferences"
    if "alias/" in resources.get("VolumeKmsKeyId", ""):
        yield "ResourceConfig.VolumeKmsKeyId: a volume takes a key's id or ARN, no alias"
    if len(keys := [tag["Key"] for tag in request.get("Tags", ())]) > len(set(keys)):
        yield "Tags: one key twice"


@functools.cache
def _model() -> Any:
    from botocore.loaders import create_loader
    from botocore.model import ServiceModel

    return ServiceModel(create_loader().load_service_model("sagemaker", "service-2"), "sagemaker")


_KINDS: dict[str, type | tuple[type, ...]] = {
    "structure": Mapping,
    "map": Mapping,
    "list": list,
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
}


def _problems(value: Any, shape: Any, where: str) -> Iterator[str]:
    if not isinstance(value, _KINDS[shape.type_name]):
        yield f"{where}: must be a {shape.type_name}, not {value!r}"
        return
    yield from _bound_problems(value, shape, where)
    if shape.type_name == "structure":
        for name in shape.required_members:
            if name not in value:
                yield f"{where}.{name}: is missing".lstrip(".")
        for name, inner in value.items():
            if name not in shape.members:
                yield f"{where}.{name}: there is no such field".lstrip(".")
            else:
                yield from _problems(inner, shape.members[name], f"{where}.{name}".lstrip("."))
    elif shape.type_name == "list":
        for number, inner in enumerate(value):
            yield from _problems(inner, shape.member, f"{where}.{number}")
    elif shape.type_name == "map":
        for key, inner in value.items():
            yield from _problems(key, shape.key, f"{where}.{key}")
            yield from _problems(inner, shape.value, f"{where}.{key}")


def _bound_problems(value: Any, shape: Any, where: str) -> Iterator[str]:
    rules = shape.metadata
    size, unit = (value, "") if isinstance(value, int) else (len(value), " long")
    if not isinstance(value, bool) and shape.type_name != "structure":
        if size > rules.get("max", size):
            yield f"{where}: {size:,}{unit}, at most {rules['max']:,}"
        if size < rules.get("min", size):
            yield f"{where}: {size:,}{unit}, at least {rules['min']:,}"
    if isinstance(value, str):
        if "pattern" in rules and not re.fullmatch(_python_pattern(rules["pattern"]), value):
            yield f"{where}: '{value}' may not be written so"
        if shape.enum and value not in shape.enum:
            yield f"{where}: there is no '{value}'"


def _python_pattern(pattern: str) -> str:
    """Put Java's Unicode classes into Python's words. It is near enough: they stand for letters, digits and spaces."""
    # The end of a text that may be repeated says no more than the end, and Python refuses to read it.
    pattern = re.sub(r"\$\{1,\d+\}$", "", pattern)
    # These are all but what controls a printer.
    pattern = pattern.replace(r"\p{L}\p{M}\p{Z}\p{S}\p{N}\p{P}", r"\w\W")
    return pattern.replace(r"\p{L}\p{Z}\p{N}", r"\w\s").replace(r"\p{Alnum}", "A-Za-z0-9")
