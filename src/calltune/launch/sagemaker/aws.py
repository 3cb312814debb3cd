"""Reach the account: clients try again by themselves, and AWS's no becomes one line that says what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from calltune.errors import CalltuneError, ConfigError, JobError

HINTS = (
    (r"ResourceLimitExceeded|service limit|quota", "ask for a higher quota in the Service Quotas console"),
    (r"CapacityError|[Ii]nsufficient ?[Cc]apacity", "no such machine is free; name several in 'instance_type' or wait"),
    (r"CUDA out of memory|OutOfMemoryError", "the GPU's memory is full; halve 'per_device_train_batch_size'"),
    (r"SIGKILL|exit code:? 137", "the machine's memory is full; take a larger 'instance_type'"),
    (
        r"Could not assume role|assume the role|iam:PassRole",
        "check 'role': SageMaker must be trusted, and you allowed to pass it",
    ),
    (r"AccessDenied|not authorized|Forbidden", "the policy in docs/sagemaker.md lists what is needed"),
    (r"ExpiredToken", "sign in again"),
    (r"InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|InvalidAccessKeyId", "check your AWS credentials"),
    (r"exit ?code:? 143", "run again to go on from its checkpoint"),
    (r"MaxRuntimeExceeded", "raise 'max_runtime_hours'; run again to go on from its checkpoint"),
    (r"MaxWaitTimeExceeded", "no spot machine for long enough; raise 'max_wait_hours', or run again"),
)


def hint(text: str) -> str:
    """Say what to do about an error, as the end of its line; it is empty when nothing is known."""
    return next((f" ({what})" for pattern, what in HINTS if re.search(pattern, text)), "")


@dataclass
class Aws:
    """Holds the clients of one region. Each is made when it is first used, and tries a call `num_tries` times."""

    region: str
    num_tries: int = 6
    _clients: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, service: str) -> Any:
        """Return the client of `sagemaker`, `sagemaker_runtime`, `s3` or `logs`.

        Raises:
            ConfigError: boto3 is not installed.
        """
        if service not in ("sagemaker", "sagemaker_runtime", "s3", "logs"):
            raise AttributeError(service)
        if service not in self._clients:
            try:
                import boto3
                from botocore.config import Config
            except ModuleNotFoundError:
                raise ConfigError("SageMaker needs boto3: pip install 'calltune[sagemaker]'") from None
            # In this mode throttling, 5xx and lost connections are tried again, each time later.
            tries: Any = {"mode": "standard", "total_max_attempts": self.num_tries}
            settings = Config(retries=tries, connect_timeout=10, read_timeout=60)
            session: Any = boto3.Session(region_name=self.region)
            self._clients[service] = session.client(service.replace("_", "-"), config=settings)
        return self._clients[service]


@contextmanager
def plainly(what: str) -> Iterator[None]:
    """Turn what boto3 raises into one line that begins with what was tried.

    Raises:
        ConfigError: there are no credentials.
        JobError: AWS said no, or did not answer.
    """
    try:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
    except ModuleNotFoundError:
        raise ConfigError("SageMaker needs boto3: pip install 'calltune[sagemaker]'") from None
    try:
        yield
    except CalltuneError:
        raise
    except (NoCredentialsError, PartialCredentialsError):
        raise ConfigError("no AWS credentials: run 'aws configure' or 'aws sso login', or set AWS_PROFILE") from None
    except ClientError as error:
        said = error.response["Error"]
        text = f"{said['Code']}: {' '.join(str(said.get('Message')).split())}"
        raise JobError(f"{what}: {text}{hint(text)}") from error
    except (BotoCoreError, Boto3Error) as error:
        text = " ".join(str(error).split())
        raise JobError(f"{what}: {text}{hint(text)}") from error


def was_refused(error: CalltuneError) -> bool:
    """Say whether AWS itself said no, so that nothing came of the call; without an answer that is not known."""
    from botocore.exceptions import ClientError

    cause = error.__cause__
    return isinstance(cause, ClientError) and cause.response["ResponseMetadata"]["HTTPStatusCode"] < 500


def require_bucket(aws: Aws, bucket: str) -> None:
    """Look whether the bucket is there and in the region of the jobs, as SageMaker wants it.

    Raises:
        ConfigError: it is not there, not yours, or elsewhere.
    """
    from botocore.exceptions import ClientError

    with plainly(f"bucket '{bucket}'"):
        try:
            response = aws.s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            response, code = error.response, error.response["Error"]["Code"]
            if code in ("404", "NoSuchBucket"):
                raise ConfigError(f"'launch.sagemaker.bucket': there is no bucket '{bucket}'") from None
            if code == "403":
                raise ConfigError(f"'launch.sagemaker.bucket': you may not use the bucket '{bucket}'") from None
            if code != "301":
                raise
    there = response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", aws.region)
    if there != aws.region:
        raise ConfigError(
            f"'launch.sagemaker.bucket': the bucket '{bucket}' is in {there}, but the jobs run in {aws.region}"
        )
