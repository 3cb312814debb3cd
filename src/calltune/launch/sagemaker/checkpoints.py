"""Remove from S3, before another attempt at a stage, the checkpoints that it would only download."""

from typing import Any

from calltune.config.run_file import Config
from calltune.launch.sagemaker.artefact import objects
from calltune.launch.sagemaker.aws import Aws, plainly
from calltune.launch.sagemaker.request import StageJob, account, checkpoints_uri
from calltune.launch.sagemaker.restored import num_kept, superfluous
from calltune.runtime.terminal import say

_KEYS_AT_ONCE = 1000


def thin_out(aws: Aws, config: Config, job: StageJob) -> None:
    """Keep the newest whole checkpoints, as many as the stage keeps, and whatever is newer; say what was removed.

    Raises:
        CalltuneError: AWS said no.
    """
    if job.stage == "evaluate":
        return
    bucket, prefix = account(config).bucket, f"{_below(config, job)}{config.name}/{job.stage}/checkpoints/"
    sizes = {key.removeprefix(prefix): size for key, size in objects(aws, bucket, prefix)}

    def read(name: str) -> bytes:
        return aws.s3.get_object(Bucket=bucket, Key=prefix + name)["Body"].read()

    with plainly(f"s3://{bucket}/{prefix}"):
        old = set(superfluous(sizes, read, num_kept(getattr(config, job.stage))))
        delete(aws, bucket, [prefix + name for name in sizes if name.partition("/")[0] in old])
    if old:
        say(f"{job.stage}: removed {len(old)} old checkpoints from s3://{bucket}/{prefix}; newer ones are whole")


def delete(aws: Aws, bucket: str, keys: list[str]) -> tuple[str, str] | None:
    """Delete objects. Return the first key that S3 refused, with its reason, or None."""
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        part: Any = [{"Key": key} for key in keys[start : start + _KEYS_AT_ONCE]]
        for refused in aws.s3.delete_objects(Bucket=bucket, Delete={"Objects": part}).get("Errors", []):
            return refused["Key"], refused["Code"]
    return None


def _below(config: Config, job: StageJob) -> str:
    return f"{checkpoints_uri(config, job).removeprefix(f's3://{account(config).bucket}/')}/"
