"""Follow a job while it runs: what becomes of it, what it prints, and why it did not complete."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from calltune.errors import CalltuneError, JobError
from calltune.launch.sagemaker.aws import Aws, hint, plainly
from calltune.launch.sagemaker.jobs import ENDED, describe_job
from calltune.runtime.stopping import Stopped
from calltune.runtime.terminal import say

_GROUP = "/aws/sagemaker/TrainingJobs"
_SECONDS_BETWEEN_LOOKS = (0.5, 10.0)
_NUM_LAST_LINES = 10


class Log:
    """Reads what all machines of a job print. At each look it lists streams anew: a spot restart opens another."""

    def __init__(self, aws: Aws, name: str) -> None:
        self._aws, self._name = aws, name
        self._tokens: dict[str, str] = {}
        self._is_unread = False
        self.last: deque[str] = deque(maxlen=_NUM_LAST_LINES)

    def new_lines(self) -> list[str]:
        """Return the lines since the last look, stream by stream; those of the first machine are without its name.

        Raises:
            CalltuneError: AWS said no.
        """
        with plainly(f"log of '{self._name}'"):
            lines = [line for stream in self._streams() for line in self._read(stream)]
        self.last.extend(lines)
        return lines

    def new_lines_if_any(self) -> list[str]:
        """Return the same; but a log that cannot be read is a warning, once, as the job does not depend on it."""
        try:
            lines = self.new_lines()
        except JobError as error:
            if not self._is_unread:
                say(f"warning: {error}; the job is followed all the same")
            self._is_unread = True
            return []
        self._is_unread = False
        return lines

    def _streams(self) -> list[str]:
        from botocore.exceptions import ClientError

        pages = self._aws.logs.get_paginator("describe_log_streams")
        try:
            answers = pages.paginate(logGroupName=_GROUP, logStreamNamePrefix=f"{self._name}/")
            return sorted(stream["logStreamName"] for page in answers for stream in page["logStreams"])
        except ClientError as error:
            # The account's first job has no group yet.
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return []
            raise

    def _read(self, stream: str) -> list[str]:
        # A stream has a name such as "<job>/algo-2-1763800000".
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
        JobError: it failed or was stopped, by whomever: only `Completed` is success. Or AWS could not be asked; then
            the job goes on, and the message says so.
    """
    log = Log(aws, name)
    with goes_on(f"job '{name}' goes on and is billed until it ends"):
        job = _until_the_end(aws, stage, name, log)
    require_completed(stage, job, list(log.last))
    return job


@contextmanager
def goes_on(what: str, unless: Callable[[CalltuneError], bool] | None = None) -> Iterator[None]:
    """Tell whoever stops within it, by a signal or an error, what goes on without them, and what to do about it.

    Args:
        unless: says of an error that nothing goes on.
    """
    sentence = f"{what}: the same command follows it again, 'calltune sagemaker stop' stops it"
    try:
        yield
    except CalltuneError as error:
        if unless and unless(error):
            raise
        raise type(error)(f"{error}; {sentence}") from error
    except (KeyboardInterrupt, Stopped):
        say(sentence)
        raise


def _until_the_end(aws: Aws, stage: str, name: str, log: Log) -> dict[str, Any]:
    told, pause = 0, _SECONDS_BETWEEN_LOOKS[0]
    while True:
        job = describe_job(aws, name)
        transitions = job.get("SecondaryStatusTransitions", [])
        for transition in transitions[told:]:
            message = transition.get("StatusMessage", "")
            say(f"{stage}: {transition['Status']}" + (f": {message}" if message else ""))
        lines = log.new_lines_if_any()
        for line in lines:
            say(f"  {line}")
        is_news = lines or told < len(transitions)
        pause = _SECONDS_BETWEEN_LOOKS[0] if is_news else min(_SECONDS_BETWEEN_LOOKS[1], pause * 1.3)
        told = len(transitions)
        if job["TrainingJobStatus"] in ENDED:
            return job
        time.sleep(pause)


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
