"""A job while it runs: what becomes of it, and what it prints; and why, when it did not complete."""

import time
from collections import deque
from typing import Any

from calltune.errors import JobError
from calltune.launch.sagemaker.aws import Aws, hint, plainly
from calltune.launch.sagemaker.jobs import ENDED, describe_job
from calltune.runtime.terminal import say

_GROUP = "/aws/sagemaker/TrainingJobs"
_SECONDS_BETWEEN_LOOKS = (0.5, 10.0)
_NUM_LAST_LINES = 10


class Log:
    """What all machines of a job print. Streams are listed anew at each look: a spot restart opens another one."""

    def __init__(self, aws: Aws, name: str) -> None:
        self._aws, self._name = aws, name
        self._tokens: dict[str, str] = {}
        self.last: deque[str] = deque(maxlen=_NUM_LAST_LINES)

    def new_lines(self) -> list[str]:
        """The lines since the last look, stream by stream; the first machine's without its name."""
        with plainly(f"log of '{self._name}'"):
            found = [line for stream in self._streams() for line in self._read(stream)]
        self.last.extend(found)
        return found

    def _streams(self) -> list[str]:
        from botocore.exceptions import ClientError

        pages = self._aws.logs.get_paginator("describe_log_streams")
        try:
            found = pages.paginate(logGroupName=_GROUP, logStreamNamePrefix=f"{self._name}/")
            return sorted(stream["logStreamName"] for page in found for stream in page["logStreams"])
        except ClientError as error:
            # The account's first job has no group yet.
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return []
            raise

    def _read(self, stream: str) -> list[str]:
        # "<job>/algo-2-1763800000"
        machine = stream.rpartition("/")[2].rpartition("-")[0]
        before = "" if machine == "algo-1" else f"[{machine}] "
        lines: list[str] = []
        while True:
            token = {"nextToken": self._tokens[stream]} if stream in self._tokens else {}
            page = self._aws.logs.get_log_events(logGroupName=_GROUP, logStreamName=stream, startFromHead=True, **token)
            lines += [before + event["message"] for event in page["events"]]
            if page["nextForwardToken"] == self._tokens.get(stream):
                return lines
            self._tokens[stream] = page["nextForwardToken"]


def follow(aws: Aws, stage: str, name: str) -> dict[str, Any]:
    """Print a job's states and its log until it ends.

    Returns:
        What SageMaker says of the completed job.

    Raises:
        JobError: it failed or was stopped, by whomever: only `Completed` is success.
    """
    log, told, pause = Log(aws, name), 0, _SECONDS_BETWEEN_LOOKS[0]
    while True:
        job = describe_job(aws, name)
        transitions = job.get("SecondaryStatusTransitions", [])
        for transition in transitions[told:]:
            message = transition.get("StatusMessage", "")
            say(f"{stage}: {transition['Status']}" + (f": {message}" if message else ""))
        lines = log.new_lines()
        for line in lines:
            say(f"  {line}")
        pause = (
            _SECONDS_BETWEEN_LOOKS[0]
            if lines or told < len(transitions)
            else min(_SECONDS_BETWEEN_LOOKS[1], pause * 1.3)
        )
        told = len(transitions)
        if job["TrainingJobStatus"] in ENDED:
            break
        time.sleep(pause)
    require_completed(stage, job, list(log.last))
    return job


def require_completed(stage: str, job: dict[str, Any], last_lines: list[str]) -> None:
    """Raise what a job ended with, unless it is complete.

    Raises:
        JobError: the reason, and what to do about it.
    """
    status, name = job["TrainingJobStatus"], job["TrainingJobName"]
    if status == "Completed":
        return
    secondary = job["SecondaryStatus"]
    why = " ".join(job.get("FailureReason", "").split()) or (
        "stopped by you or somebody else; run again to go on from its checkpoint" if secondary == status else secondary
    )
    raise JobError(f"{stage}: job '{name}' {status.lower()}: {why}{hint(why) or hint(' '.join(last_lines))}")
