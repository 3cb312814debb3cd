"""SageMaker's training jobs, played: states, names and tags; what a job does is played by `fake_machine`."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aws_rules import broken
from fake_machine import Event, Machines


class Refused(Exception):
    """An answer with an error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FakeJobs:
    """Operations by their names.

    `events` befall the next jobs, one each; `between_attempts` is called when a job's machines were taken back;
    `before_search` when somebody looks for a run's jobs, of which `hides_new_jobs` shows none, as if they were too new;
    `wrap` puts a container's command into namespaces.
    """

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.machines: dict[str, Machines] = {}
        self.threads: list[threading.Thread] = []
        self.url = ""
        self.events: list[Event] = []
        self.between_attempts: Callable[[Machines], None] | None = None
        self.before_search: Callable[[], object] | None = None
        self.hides_new_jobs = False
        self.wrap: Callable[[Path, list[str]], list[str]] | None = None

    def CreateTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:
        if wrong := list(broken(request)):
            raise Refused("ValidationException", wrong[0])
        name = request["TrainingJobName"]
        if name in self.records:
            raise Refused("ResourceInUse", f"Training job names must be unique: {name}")
        now = time.time()
        record = {key: value for key, value in request.items() if key != "Tags"}
        record |= {
            "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}",
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "SecondaryStatusTransitions": [],
            "CreationTime": now,
            "LastModifiedTime": now,
            "tags": {tag["Key"]: tag["Value"] for tag in request["Tags"]},
        }
        self.records[name] = record
        machines = self.machines[name] = Machines(record, self.url, self.wrap)
        event = self.events.pop(0) if self.events else None
        thread = threading.Thread(target=machines.run, args=(event, self.between_attempts), daemon=True)
        self.threads.append(thread)
        thread.start()
        return {"TrainingJobArn": record["TrainingJobArn"]}

    def DescribeTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in self._record(request).items() if key != "tags"}

    def ListTrainingJobs(self, request: dict[str, Any]) -> dict[str, Any]:
        keys = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingJobStatus")
        found = [record for name, record in self.records.items() if request["NameContains"] in name]
        return {"TrainingJobSummaries": [{key: record[key] for key in keys} for record in found]}

    def Search(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.before_search:
            self.before_search()
        if self.hides_new_jobs:
            return {"Results": []}
        (wanted,) = request["SearchExpression"]["Filters"]
        key = wanted["Name"].removeprefix("Tags.")
        found = [record for record in self.records.values() if record["tags"].get(key) == wanted["Value"]]
        return {"Results": [{"TrainingJob": {"TrainingJobName": record["TrainingJobName"]}} for record in found]}

    def StopTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:
        record = self._record(request)
        if record["TrainingJobStatus"] != "InProgress":
            raise Refused("ValidationException", f"The request was rejected: job is {record['TrainingJobStatus']}")
        self.machines[record["TrainingJobName"]].stop("Stopped")
        return {}

    def UpdateTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:
        record = self._record(request)
        if request["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 0:
            record["WarmPoolStatus"] = {"Status": "Terminated"}
        return {"TrainingJobArn": record["TrainingJobArn"]}

    def end_all(self) -> None:
        for machines in self.machines.values():
            machines.kill()
        for thread in self.threads:
            thread.join(timeout=30)

    def _record(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["TrainingJobName"]
        if name not in self.records:
            raise Refused("ValidationException", f"Requested resource not found: {name}")
        return self.records[name]
