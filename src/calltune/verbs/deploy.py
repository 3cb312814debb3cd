"""`calltune deploy run.toml --on sagemaker`: the exported model in the registry, and at an endpoint."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from calltune.config.run_file import Config
from calltune.errors import ConfigError, GateError
from calltune.launch.sagemaker.aws import Aws, require_bucket
from calltune.launch.sagemaker.cost import endpoint_price
from calltune.launch.sagemaker.deploy import made_or_nothing, register, stand_up, take_down
from calltune.launch.sagemaker.deployment import Deployment, plan_deployment
from calltune.launch.sagemaker.request import account
from calltune.runtime.terminal import say


def run(config: Config, dry_run: bool = False, down: bool = False) -> Path:
    """Register the model with what the report says of it, and serve it at an endpoint.

    Args:
        dry_run: print the requests and send nothing; AWS is not asked.
        down: delete the run's endpoints instead.

    Returns:
        The run's folder.

    Raises:
        GateError: the gate is not passed: the model is registered as rejected, and not served.
        CalltuneError: nothing is exported, AWS said no, or the endpoint failed; then nothing that was made now is left.
    """
    wanted = account(config)
    if down and dry_run:
        raise ConfigError("--down and --dry-run do not go together")
    if down:
        take_down(Aws(wanted.region), config)
        return config.run_folder
    plan = plan_deployment(config)
    if dry_run:
        _show_requests(config, plan)
        return config.run_folder
    aws = Aws(wanted.region)
    require_bucket(aws, wanted.bucket)
    package = register(aws, config, plan)
    if plan.approval == "Rejected":
        raise GateError(f"deploy: the gate is not passed: {package} is registered as Rejected, and no endpoint is made")
    say(f"deploy: the endpoint costs {endpoint_price(config)}")
    with made_or_nothing(aws) as made:
        stand_up(aws, config, plan, made)
    say(f"deploy: {plan.name} answers; 'calltune deploy ... --on sagemaker --down' ends it")
    return config.run_folder


def _show_requests(config: Config, plan: Deployment) -> None:
    """Print the requests as one JSON object by operation, for a program to read, and what it costs to stderr."""
    say(json.dumps(plan.requests, indent=2, allow_nan=False))
    with redirect_stdout(sys.stderr):
        say(f"deploy: the endpoint costs {endpoint_price(config)}")
