"""A run file for SageMaker on toy data, an account on loopback, and a package whose stages take a second."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_aws import FakeAws, serving

from calltune.config.run_file import Config, load_config
from calltune.launch.sagemaker.aws import Aws
from calltune.verbs import prepare

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
    return Aws("us-east-1")


@pytest.fixture
def toy_package(tmp_path: Path) -> Path:
    """A package named calltune whose `sft` counts to `sft.steps` and does at the third step what `sft.does` says."""
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
while step < table.get("steps", 4):
    step += 1
    time.sleep(0.1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # a file half-written is another test's
    step_file.write_text(str(step))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    print(f"sft: {step} steps")
    if step == 3 and first == 0:
        if table.get("does") == "error":
            print("calltune: data/train.jsonl:7: 'tools' is missing", file=sys.stderr)
            sys.exit(2)
        if table.get("does") == "raise":
            raise ValueError("loss is not a number")
        if table.get("does") == "wait":
            time.sleep(60)
(folder / "manifest.json").write_text(json.dumps({"first": first, "steps": step}))
"""
