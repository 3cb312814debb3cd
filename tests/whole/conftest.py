"""The account on loopback, for a run that goes to SageMaker and back."""

from sagemaker_account import credentials, fake, sagemaker_file

__all__ = ["credentials", "fake", "sagemaker_file"]
