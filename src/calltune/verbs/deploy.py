"""`calltune deploy run.toml --on sagemaker`: the exported model in the registry, and at an endpoint."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from calltune.config.run_file import Config
from calltune.errors import ConfigError, GateError
from calltune.evaluation.benchmarks.when2call_rows import QuestionSettings, questions
from calltune.launch.sagemaker.aws import Aws, require_bucket
from calltune.launch.sagemaker.cost import endpoint_price
from calltune.launch.sagemaker.deploy import made_or_nothing, register, stand_up, take_down
from calltune.launch.sagemaker.deployment import Deployment, plan_deployment
from calltune.launch.sagemaker.request import account
from calltune.launch.sagemaker.smoke import call_in_words, smoke_test
from calltune.runtime.terminal import say
from calltune.runtime.told import program_listens, tell_program
from calltune.types import Sample

_OF_EACH_KIND = 2


def run(config: Config, dry_run: bool = False, down: bool = False) -> Path:
    """Register the model with what the report says of it, and serve it at an endpoint.

    Args:
        dry_run: print the requests and send nothing; AWS is not asked.
        down: delete the run's endpoints instead.

    Returns:
        The run's folder.

    Raises:
        GateError: the gate is not passed: the model is registered as rejected, and not served.
        CalltuneError: nothing is exported, AWS said no, the endpoint failed or does not answer as it should; then
            nothing that was made now is left.
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
    asked = _questions(config)
    aws = Aws(wanted.region)
    require_bucket(aws, wanted.bucket)
    package = register(aws, config, plan)
    if plan.approval == "Rejected":
        raise GateError(f"deploy: the gate is not passed: {package} is registered as Rejected, and no endpoint is made")
    say(f"deploy: the endpoint costs {endpoint_price(config)}")
    with made_or_nothing(aws) as made:
        stand_up(aws, config, plan, made)
        if asked:
            smoke_test(aws, plan, asked)
        else:
            say("warning: no smoke test: the run holds out no questions")
    say(f"deploy: {plan.name} answers; 'calltune deploy {config.words} --on sagemaker --down' ends it")
    return config.run_folder


def _questions(config: Config) -> list[tuple[Sample, str]]:
    """Return the run's own first test questions, with what is expected: some that want a call, some that do not."""
    path = config.run_folder / "data" / "test.jsonl"
    if not path.is_file() or not path.stat().st_size:
        return []
    chosen: dict[bool, list[tuple[Sample, str]]] = {True: [], False: []}
    for question in questions(QuestionSettings(path=str(path)), with_four=False):
        wants_call = question.correct == "tool_call"
        if len(chosen[wants_call]) < _OF_EACH_KIND:
            sample = Sample(question.id, "smoke test", question.messages, question.tools, None)
            calls = question.answers["tool_call"].tool_calls if wants_call else ()
            chosen[wants_call].append((sample, "; ".join(map(call_in_words, calls)) or question.correct))
    return [*chosen[True], *chosen[False]]


def _show_requests(config: Config, plan: Deployment) -> None:
    """Print the requests as one JSON object by operation, for a program to read, and what it costs to stderr."""
    tell_program(requests=plan.requests)
    if not program_listens():
        say(json.dumps(plan.requests, indent=2, allow_nan=False))
    with redirect_stdout(sys.stderr):
        say(f"deploy: the endpoint costs {endpoint_price(config)}")
