"""The account on loopback, for a run that goes to SageMaker and back; a browser, for its page."""

from browser import chromium
from sagemaker_account import credentials, fake, sagemaker_file

__all__ = ["chromium", "credentials", "fake", "sagemaker_file"]
