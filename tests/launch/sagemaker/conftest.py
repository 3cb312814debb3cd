"""No test of a launch on SageMaker may use credentials of whoever runs it."""

import pytest
from exported_run import exported
from sagemaker_account import aws, credentials, fake, prepared, run_sft, sagemaker_file, toy, toy_package

__all__ = ["aws", "credentials", "exported", "fake", "prepared", "run_sft", "sagemaker_file", "toy", "toy_package"]


@pytest.fixture(autouse=True)
def with_credentials_of_nobody(credentials: None) -> None:
    """Those of the account on loopback."""
