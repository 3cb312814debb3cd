"""`calltune deploy run.toml --on sagemaker`: the exported model in the registry, and at an endpoint."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from calltune.config.run_file import Config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.cost import endpoint_price
from calltune.launch.sagemaker.deployment import Deployment, plan_deployment
from calltune.runtime.terminal import say


def run(config: Config, dry_run: bool = False) -> Path:
    """Print the requests that a deployment is made of.

    Args:
        dry_run: send nothing; AWS is not asked.

    Returns:
        The folder of the exported model.

    Raises:
        CalltuneError: nothing is exported, or a request would be refused.
    """
    if not dry_run:
        raise ConfigError("deploy prints its requests so far, with --dry-run")
    plan = plan_deployment(config)
    _show_requests(config, plan)
    return plan.folder


def _show_requests(config: Config, plan: Deployment) -> None:
    """Print the requests as one JSON object by operation, for a program to read, and what it costs to stderr."""
    say(json.dumps(plan.requests, indent=2, allow_nan=False))
    with redirect_stdout(sys.stderr):
        say(f"deploy: the endpoint costs {endpoint_price(config)}")
