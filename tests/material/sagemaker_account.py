"""A run file for SageMaker on toy data, an account on loopback, and a package whose stages take a second."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_aws import FakeAws, client, serving

from calltune.config.run_file import Config, load_config
from calltune.launch.sagemaker.aws import Aws
from calltune.launch.sagemaker.plan import make_plan
from calltune.launch.sagemaker.restored import SEAL
from calltune.launch.sagemaker.submit import run_stages
from calltune.verbs import prepare

Toy = Callable[..., Config]
RunSft = Callable[..., dict]

TABLE = """
[launch.sagemaker]
role = "arn:aws:iam::123456789012:role/calltune"
bucket = "toy-bucket"
region = "us-east-1"
instance_type = "ml.g5.2xlarge"
"""


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def sagemaker_file(write_run_file: Callable[..., Path]) -> Callable[..., Path]:
    """The toy run file with `[launch.sagemaker]`; `more` are lines of that table."""

    def write(more: str = "", **others: str) -> Path:
        return write_run_file(extra=f"{TABLE}{more}\n", **others)

    return write


@pytest.fixture
def prepared(sagemaker_file: Callable[..., Path]) -> Callable[..., Config]:
    """The toy run file, read and prepared."""

    def load(*overrides: str, more: str = "") -> Config:
        config = load_config(sagemaker_file(more), overrides)
        prepare.run(config)
        return config

    return load


@pytest.fixture
def fake(credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAws]:
    with serving() as fake:
        monkeypatch.setenv("AWS_ENDPOINT_URL", fake.jobs.url)
        yield fake


@pytest.fixture
def aws(fake: FakeAws) -> Aws:
    return Aws("us-east-1", num_tries=4)


@pytest.fixture
def toy(prepared: Callable[..., Config]) -> Toy:
    """A run of `sft` alone."""
    return lambda *overrides, more="": prepared('stages=["sft"]', *overrides, more=more)


@pytest.fixture
def run_sft(aws: Aws, toy_package: Path) -> RunSft:
    """Have the toy stage's job complete; what SageMaker says of it."""
    return lambda config: run_stages(aws, config, make_plan(config, toy_package, []), ["sft"])[0]


def artefact(fake: FakeAws, job: dict) -> dict:
    """The manifest of a toy stage: from which step the job began, and how many there are."""
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://toy-bucket/") + "manifest.json"
    return json.loads(client("s3", fake.jobs.url).get_object(Bucket="toy-bucket", Key=key)["Body"].read())


def keys(fake: FakeAws, within: str) -> list[str]:
    pages = client("s3", fake.jobs.url).get_paginator("list_objects_v2").paginate(Bucket="toy-bucket")
    return [item["Key"] for page in pages for item in page.get("Contents", []) if within in item["Key"]]


def at_step(number: int) -> Callable[[Path], bool]:
    def reached(root: Path) -> bool:
        file = root / "checkpoints" / "toy" / "sft" / "checkpoints" / "step.txt"
        return file.exists() and int(file.read_text() or 0) >= number

    return reached


def sealed(stage: str, number: int) -> Callable[[Path], bool]:
    """Whether a checkpoint of this step or a later one is whole: the stage itself soon removes the first ones."""

    def reached(root: Path) -> bool:
        folder = root / "checkpoints" / "toy" / stage / "checkpoints"
        names = os.listdir(folder) if folder.is_dir() else []
        steps = [int(name.rpartition("-")[2]) for name in names if re.fullmatch(r"checkpoint-\d+", name)]
        return any(step >= number and (folder / f"checkpoint-{step}" / SEAL).exists() for step in steps)

    return reached


def wait_until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def toy_package(tmp_path: Path) -> Path:
    """A package named calltune whose `sft` counts to `max_steps` and does at the third step what `run_name` says."""
    package = tmp_path / "package" / "calltune"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(TOY_STAGE)
    return package


TOY_STAGE = """
import json, os, pathlib, signal, sys, time
words = dict(word.split("=", 1) for word in sys.argv[3:])
config = json.load(open(sys.argv[2]))
folder = pathlib.Path(words["output"]) / config["name"] / sys.argv[1]
table = config[sys.argv[1]]
(folder / "checkpoints").mkdir(parents=True, exist_ok=True)
step_file = folder / "checkpoints" / "step.txt"
first = step = int(step_file.read_text()) if step_file.exists() else 0
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("token", os.environ.get("HF_TOKEN"), "from step", first)
print(f"parent is process {os.getppid()}, output={words['output']}")
while step < table.get("max_steps", 4):
    step += 1
    time.sleep(0.1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # a file half-written is another test's
    step_file.write_text(str(step))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    print(f"sft: {step} steps")
    if step == 3 and first == 0:
        if table.get("run_name") == "error":
            print("calltune: data/train.jsonl:7: 'tools' is missing", file=sys.stderr)
            sys.exit(2)
        if table.get("run_name") == "raise":
            raise ValueError("loss is not a number")
        while table.get("run_name") == "wait":
            time.sleep(1)  # until it is stopped
if table.get("run_name") == "end as the signal comes":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(0.3)
(folder / "manifest.json").write_text(json.dumps({"first": first, "steps": step}))
"""
