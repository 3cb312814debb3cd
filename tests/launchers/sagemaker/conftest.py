"""A run file for SageMaker on toy data, prepared."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calltune import prepare
from calltune.config import Config, load_config

TABLE = """
[launch.sagemaker]
role = "arn:aws:iam::123456789012:role/calltune"
bucket = "toy-bucket"
region = "us-east-1"
instance_type = "ml.g5.2xlarge"
"""


@pytest.fixture
def sagemaker_file(write_run_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """The toy run file with `[launch.sagemaker]`; `more` are lines of that table."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")

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
