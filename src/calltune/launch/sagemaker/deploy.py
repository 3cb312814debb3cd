"""Register a model and stand up its endpoint; what fails in the middle is deleted again, as an endpoint is billed."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import CalltuneError, JobError
from calltune.launch.sagemaker.archive import upload_archive, upload_folder
from calltune.launch.sagemaker.aws import Aws, hint, plainly
from calltune.launch.sagemaker.deployment import MODEL_KEY, Deployment, names_begin
from calltune.launch.sagemaker.request import RUN_TAG, account, run_tag
from calltune.runtime.stopping import at_forced_end
from calltune.runtime.terminal import say

_SECONDS_BETWEEN_LOOKS = (0.5, 10.0)
_SECONDS_BETWEEN_WORDS = 60.0
_SECONDS_TO_END = 600.0


@dataclass(frozen=True, slots=True)
class Piece:
    """One of an endpoint's three parts, by its kind: `endpoint`, `endpoint configuration` or `model`."""

    kind: str
    name: str


@dataclass(slots=True)
class Made:
    """What a command has made and would have to delete, in the order in which it was made."""

    aws: Aws
    pieces: list[Piece] = field(default_factory=list)
    endpoint_stood: bool = False

    def take_down(self) -> None:
        """Delete it, the endpoint first; what cannot be deleted is told, and stays in the list."""
        self.pieces = [piece for piece in reversed(self.pieces) if not _deleted(self.aws, piece)][::-1]


@contextmanager
def made_or_nothing(aws: Aws) -> Iterator[Made]:
    """Delete what is made within it when it ends by an error or a signal."""
    made = Made(aws)
    with at_forced_end(made.take_down):
        try:
            yield made
        except BaseException:
            if made.endpoint_stood:
                say("deploy: the endpoint stood before this command, and is left; --down ends it")
            made.take_down()
            raise


def register(aws: Aws, config: Config, plan: Deployment) -> str:
    """Send the model and its metrics, and register the package, unless all that is there.

    Returns:
        The package's ARN.

    Raises:
        CalltuneError: AWS said no.
    """
    bucket, key = account(config).bucket, account(config).kms_key
    upload_folder(aws, bucket, plan.model_key, plan.folder, key)
    if plan.statistics:
        upload_archive(aws, bucket, plan.statistics_key, plan.statistics, key)
    group = plan.requests["CreateModelPackageGroup"]
    name = group["ModelPackageGroupName"]
    with plainly(f"group of packages '{name}'"):
        pages = aws.sagemaker.get_paginator("list_model_package_groups").paginate(NameContains=name)
        groups = [row["ModelPackageGroupName"] for page in pages for row in page["ModelPackageGroupSummaryList"]]
        if name not in groups:
            with _unless_it_exists():
                aws.sagemaker.create_model_package_group(**group)
    request = plan.requests["CreateModelPackage"]
    wanted = request["CustomerMetadataProperties"][MODEL_KEY]
    with plainly(f"package of '{name}'"):
        pages = aws.sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=name)
        for arn in [row["ModelPackageArn"] for page in pages for row in page["ModelPackageSummaryList"]]:
            package = aws.sagemaker.describe_model_package(ModelPackageName=arn)
            if package.get("CustomerMetadataProperties", {}).get(MODEL_KEY) == wanted:
                # Somebody may have approved or rejected it by hand since.
                say(f"deploy: {arn} is registered already, as {package['ModelApprovalStatus']}")
                return arn
        arn = aws.sagemaker.create_model_package(**request)["ModelPackageArn"]
    say(f"deploy: registered {arn} as {plan.approval}")
    return arn


def stand_up(aws: Aws, config: Config, plan: Deployment, made: Made) -> None:
    """Make the model, the configuration and the endpoint that are not there, and wait until it is in service.

    Args:
        made: is told of each before it is asked for.

    Raises:
        CalltuneError: AWS said no, or the endpoint failed.
    """
    there = standing(aws, config)
    for piece in there:
        if piece.kind == "endpoint" and piece.name != plan.name:
            say(f"warning: endpoint '{piece.name}' of this run stands, too, and is billed; --down deletes both")
    pieces = {
        "CreateModel": Piece("model", plan.name),
        "CreateEndpointConfig": Piece("endpoint configuration", plan.name),
        "CreateEndpoint": Piece("endpoint", plan.name),
    }
    for operation, piece in pieces.items():
        if piece in there and not (piece.kind == "endpoint" and _was_removed(aws, config, piece)):
            say(f"deploy: the {piece.kind} {piece.name} is there already")
            made.endpoint_stood = piece.kind == "endpoint"
            continue
        made.pieces.append(piece)
        with plainly(f"{piece.kind} '{piece.name}' was not accepted"), _unless_it_exists():
            _create(aws, operation, plan.requests[operation])
        say(f"deploy: made the {piece.kind} {piece.name}")
    _wait(aws, plan.name)


def standing(aws: Aws, config: Config) -> list[Piece]:
    """Return what stands of this run: endpoints first, then configurations, then models; also earlier ones.

    Raises:
        CalltuneError: AWS said no.
    """
    begin = names_begin(config)
    with plainly("list of endpoints"):
        endpoints = aws.sagemaker.get_paginator("list_endpoints").paginate(NameContains=begin)
        configs = aws.sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=begin)
        models = aws.sagemaker.get_paginator("list_models").paginate(NameContains=begin)
        rows = [
            *(("endpoint", r["EndpointName"], r["EndpointArn"]) for page in endpoints for r in page["Endpoints"]),
            *(
                ("endpoint configuration", r["EndpointConfigName"], r["EndpointConfigArn"])
                for page in configs
                for r in page["EndpointConfigs"]
            ),
            *(("model", r["ModelName"], r["ModelArn"]) for page in models for r in page["Models"]),
        ]
        ours = [row for row in rows if re.fullmatch(rf"{re.escape(begin)}[0-9a-f]{{8}}", row[1])]
        return [Piece(kind, name) for kind, name, arn in ours if _run_of(aws, arn) == run_tag(config)]


def take_down(aws: Aws, config: Config) -> None:
    """Delete all endpoints of the run with their configurations and models; packages stay in the registry.

    Raises:
        CalltuneError: AWS said no, or something could not be deleted.
    """
    pieces = standing(aws, config)
    if not pieces:
        say(f"deploy: no endpoint of {run_tag(config)} stands")
    left = [piece for piece in pieces if not _deleted(aws, piece)]
    if left:
        raise JobError(f"deploy: the {left[0].kind} '{left[0].name}' still stands; run --down again")


def _run_of(aws: Aws, arn: str) -> str:
    pages = aws.sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return next((tag["Value"] for page in pages for tag in page["Tags"] if tag["Key"] == RUN_TAG), "")


def _create(aws: Aws, operation: str, request: Mapping[str, Any]) -> None:
    if operation == "CreateModel":
        aws.sagemaker.create_model(**request)
    elif operation == "CreateEndpointConfig":
        aws.sagemaker.create_endpoint_config(**request)
    else:
        aws.sagemaker.create_endpoint(**request)


@contextmanager
def _unless_it_exists() -> Iterator[None]:
    """Take it for done when it was done before: by a try whose answer was lost, or by somebody else just now."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if not re.search(r"already exist", error.response["Error"].get("Message", "")):
            raise


def _delete(aws: Aws, piece: Piece) -> bool:
    """Delete a piece; say whether it was there."""
    from botocore.exceptions import ClientError

    with plainly(f"{piece.kind} '{piece.name}' was not deleted"):
        try:
            if piece.kind == "model":
                aws.sagemaker.delete_model(ModelName=piece.name)
            elif piece.kind == "endpoint":
                aws.sagemaker.delete_endpoint(EndpointName=piece.name)
            else:
                aws.sagemaker.delete_endpoint_config(EndpointConfigName=piece.name)
        except ClientError as error:
            if "Could not find" not in error.response["Error"].get("Message", ""):
                raise
            return False
    return True


def _deleted(aws: Aws, piece: Piece) -> bool:
    """Delete a piece and tell it; say whether it is gone now."""
    try:
        was_there = _delete(aws, piece)
    except CalltuneError as error:
        billed = " and is billed" if piece.kind == "endpoint" else ""
        say(f"warning: {error}; it stands{billed} until the same command with --down deletes it")
        return False
    if was_there:
        say(f"deploy: deleted the {piece.kind} {piece.name}")
    return True


def _was_removed(aws: Aws, config: Config, endpoint: Piece) -> bool:
    """Delete an endpoint that failed before, and wait for the end of one that is being deleted."""
    with plainly(f"endpoint '{endpoint.name}'"):
        state = aws.sagemaker.describe_endpoint(EndpointName=endpoint.name)["EndpointStatus"]
    if state not in ("Failed", "OutOfService", "Deleting"):
        return False
    say(f"deploy: the endpoint {endpoint.name} is {state}; it is made anew")
    if state != "Deleting":
        _delete(aws, endpoint)
    deadline = time.monotonic() + _SECONDS_TO_END
    while endpoint in standing(aws, config):
        if time.monotonic() > deadline:
            raise JobError(f"deploy: endpoint '{endpoint.name}' is not gone; run this again later")
        time.sleep(_SECONDS_BETWEEN_LOOKS[0])
    return True


def _wait(aws: Aws, name: str) -> None:
    """Wait until an endpoint is in service, and say each minute that it is not yet."""
    begun, told, told_at, pause = time.monotonic(), "", 0.0, _SECONDS_BETWEEN_LOOKS[0]
    while True:
        with plainly(f"endpoint '{name}'"):
            endpoint = aws.sagemaker.describe_endpoint(EndpointName=name)
        state, now = endpoint["EndpointStatus"], time.monotonic()
        if state != told or now - told_at > _SECONDS_BETWEEN_WORDS:
            say(f"deploy: endpoint {name} is {state} after {now - begun:.0f} s")
            told, told_at = state, now
        if state == "InService":
            return
        if state not in ("Creating", "Updating", "SystemUpdating"):
            why = " ".join(endpoint.get("FailureReason", "no reason is given").split())
            log = f"CloudWatch has its log as /aws/sagemaker/Endpoints/{name}"
            raise JobError(f"deploy: endpoint '{name}' is {state}: {why}{hint(why)}; {log}")
        time.sleep(pause)
        pause = min(2 * pause, _SECONDS_BETWEEN_LOOKS[1])
