"""A training job's machines, played: channels come, the container's own command runs, checkpoints are synced."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil

GROUP = "/aws/sagemaker/TrainingJobs"
SECONDS_TO_END = 120.0


@dataclass
class Event:
    """What befalls a job once `when` holds of its first machine's folder.

    `interrupt`: a spot machine is taken back, and another one comes. `kill`: the system ends the stage, for memory.
    `sigterm`: the signal comes, and SageMaker takes the container's exit code for what it says. `vanish`: the machines
    are gone, and SageMaker takes the job for complete. `capacity`: there is no machine.
    """

    kind: str
    when: Callable[[Path], bool]


def in_namespaces(root: Path, command: list[str]) -> list[str]:
    """The command as process 1 of its own namespaces, with `root` at /opt/ml and the machines' names known."""
    mounts = f"mount --bind {root} /opt/ml && mount --bind {root}/hosts /etc/hosts"
    return [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "sh",
        "-c",
        f'{mounts} && exec "$@"',
        "x",
        *command,
    ]


class Machines:
    """The machines of one job; `wrap` puts a command into namespaces, and without it /opt/ml is written otherwise."""

    def __init__(self, record: dict[str, Any], url: str, wrap: Callable[[Path, list[str]], list[str]] | None) -> None:
        self.record, self.url, self._wrap = record, url, wrap
        self.name = record["TrainingJobName"]
        self.hosts = [f"algo-{n}" for n in range(1, record["ResourceConfig"]["InstanceCount"] + 1)]
        self._stop_as: str | None = None
        self._is_over = False
        self._processes: list[subprocess.Popen[bytes]] = []
        self.s3, self.logs = (boto3.client(s, endpoint_url=url, region_name="us-east-1") for s in ("s3", "logs"))

    def run(self, event: Event | None, between: Callable[[Any], None] | None) -> None:
        try:
            if event and event.kind == "capacity":
                self._end("Failed", "Failed", "CapacityError: Unable to provision requested ML compute capacity")
                return
            attempt = 0
            while self._attempt(attempt, event if attempt == 0 else None):
                attempt += 1
                if between:
                    between(self)
        except Exception as error:  # A defect of the fake must end the job, or the test would wait for ever.
            self._end("Failed", "Failed", f"InternalServerError: {error!r}")
            raise

    def stop(self, status: str) -> None:
        """SIGTERM, as StopTrainingJob and the bounds of time send it; the job ends with this secondary status."""
        self._stop_as = self._stop_as or status
        self.record["TrainingJobStatus"] = "Stopping"
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        # Also of what is being started just now.
        self._stop_as, self._is_over = self._stop_as or "Stopped", True
        self._end_all()

    def _end_all(self) -> None:
        for process in self._processes:
            # Two threads may be at it at once, and a process may end by itself.
            with suppress(psutil.NoSuchProcess):
                inside = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
                for each in inside:
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
            process.kill()

    def inside(self) -> list[psutil.Process]:
        """What runs in the containers as process 1."""
        first = list[psutil.Process]()
        for process in self._processes:
            if process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    outer = psutil.Process(process.pid)
                    first += outer.children() if self._wrap else [outer]
        return first

    def _signal(self, number: int) -> None:
        for process in self.inside():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _attempt(self, attempt: int, event: Event | None) -> bool:
        """One life of the machines; whether there is another."""
        self._tell("Starting")
        folder = Path(tempfile.mkdtemp(prefix="fake-machine-"))
        roots = [folder / host for host in self.hosts]
        self._tell("Downloading")
        for host, root in zip(self.hosts, roots, strict=True):
            self._lay_out(root, host)
        self._tell("Training")
        self._processes = [self._start(root) for root in roots]
        relays = [
            threading.Thread(target=self._relay, args=(process, f"{self.name}/{host}-{attempt}"))
            for process, host in zip(self._processes, self.hosts, strict=True)
        ]
        for relay in relays:
            relay.start()
        over = threading.Event()
        syncing = threading.Thread(target=self._keep_synced, args=(roots, over))
        syncing.start()
        interrupted = self._watch(roots, event)
        over.set()
        syncing.join()
        for relay in relays:
            relay.join()
        codes = [process.wait() for process in self._processes]
        self._sync(roots)
        try:
            if interrupted and self._stop_as is None:
                self._tell("Interrupted", "Training job interrupted, restarting")
                return True
            self._conclude(roots, [0] if event and event.kind == "vanish" else codes)
            return False
        finally:
            shutil.rmtree(folder)

    def _watch(self, roots: list[Path], event: Event | None) -> bool:
        start, told = time.monotonic(), False
        bound = self.record["StoppingCondition"]["MaxRuntimeInSeconds"]
        deadline = None
        while any(process.poll() is None for process in self._processes):
            # Copying takes longer than some steps: it has a thread of its own, so that no event comes too late.
            time.sleep(0.01)
            if self._is_over:
                self._end_all()
            if event and not told and event.when(roots[0]) and (first := self.inside()):
                told = True
                if event.kind in ("interrupt", "sigterm"):
                    # One machine is told; the others must stop with it.
                    first[-1].send_signal(signal.SIGTERM)
                elif event.kind == "kill":
                    first[0].children()[-1].kill()
                else:
                    self._end_all()
            if self._stop_as is None and time.monotonic() - start > bound:
                self.stop("MaxRuntimeExceeded")
            asked = self._stop_as is not None or (told and event is not None and event.kind == "interrupt")
            deadline = deadline or (time.monotonic() + SECONDS_TO_END if asked else None)
            if deadline and time.monotonic() > deadline:
                self.kill()
        return told and event is not None and event.kind == "interrupt"

    def _conclude(self, roots: list[Path], codes: list[int]) -> None:
        seconds = 60
        self.record |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
        if "KeepAlivePeriodInSeconds" in self.record["ResourceConfig"]:
            self.record["WarmPoolStatus"] = {"Status": "Available"}
        self._tell("Uploading")
        uri = f"{self.record['OutputDataConfig']['S3OutputPath']}/{self.name}/output/model/"
        for root in roots:
            self._upload(root / "model", uri)
        self.record["ModelArtifacts"] = {"S3ModelArtifacts": uri}
        if self._stop_as is not None:
            self._end("Stopped", self._stop_as)
        elif any(codes):
            failures = [root / "output" / "failure" for root in roots]
            said = [file.read_text() for file in failures if file.exists()] or [""]
            # As AWS writes it; a container that ends with anything but 0 has failed.
            self._end("Failed", "Failed", f"AlgorithmError: {said[0][:1024]}, exit code: {max(codes)}")
        else:
            self._end("Completed", "Completed")

    def _end(self, status: str, secondary: str, reason: str | None = None) -> None:
        if reason:
            self.record["FailureReason"] = reason
        self._tell(secondary)
        self.record["TrainingJobStatus"] = status

    def _tell(self, status: str, message: str = "") -> None:
        self.record["SecondaryStatus"] = status
        transition = {"Status": status, "StartTime": time.time(), "StatusMessage": message}
        self.record["SecondaryStatusTransitions"] = [*self.record["SecondaryStatusTransitions"], transition]

    def _lay_out(self, root: Path, host: str) -> None:
        for name in ("input/config", "model", "output/data", "checkpoints"):
            (root / name).mkdir(parents=True)
        for channel in self.record["InputDataConfig"]:
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            if not self._download(uri, root / "input" / "data" / channel["ChannelName"]):
                raise ValueError(f"no object below {uri}")
        self._download(f"{self.record['CheckpointConfig']['S3Uri']}/", root / "checkpoints")
        config = {"current_host": host, "hosts": self.hosts, "network_interface_name": "lo"}
        (root / "input" / "config" / "resourceconfig.json").write_text(json.dumps(config))
        names = " ".join(["localhost", *self.hosts])
        (root / "hosts").write_text(f"127.0.0.1 {names}\n")

    def _start(self, root: Path) -> subprocess.Popen[bytes]:
        algorithm = self.record["AlgorithmSpecification"]
        command = [*algorithm["ContainerEntrypoint"], *algorithm["ContainerArguments"]]
        wrap = self._wrap or (lambda root, words: [word.replace("/opt/ml", str(root)) for word in words])
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": os.environ["HOME"],
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "TRAINING_JOB_NAME": self.name,
            **{name: os.environ[name] for name in os.environ if name.startswith("SAGEMAKER_MLFLOW")},
            **self.record["Environment"],
        }
        return subprocess.Popen(
            wrap(root, command), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/"
        )

    def _relay(self, process: subprocess.Popen[bytes], stream: str) -> None:
        self.logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
        assert process.stdout
        with process.stdout as lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip("\n") or " "
                event = {"timestamp": int(time.time() * 1000), "message": text}
                self.logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=[event])

    def _keep_synced(self, roots: list[Path], over: threading.Event) -> None:
        while not over.wait(0.05):
            self._sync(roots)

    def _sync(self, roots: list[Path]) -> None:
        for root in roots:
            self._upload(root / "checkpoints", f"{self.record['CheckpointConfig']['S3Uri']}/")

    def _upload(self, folder: Path, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        sent = self.__dict__.setdefault("_sent", {})
        # Unlike rglob, it bears folders that go away meanwhile.
        for path in (Path(place) / name for place, _, names in os.walk(folder) for name in names):
            try:
                state = (path.stat().st_mtime_ns, path.stat().st_size)
                if path.is_symlink() or not path.is_file() or sent.get(path) == state:
                    continue
                self.s3.put_object(Bucket=bucket, Key=f"{prefix}{path.relative_to(folder)}", Body=path.read_bytes())
            except FileNotFoundError:
                # Removed while it was looked at.
                continue
            sent[path] = state

    def _download(self, uri: str, folder: Path) -> int:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        for key in keys:
            place = folder / key.removeprefix(prefix)
            place.parent.mkdir(parents=True, exist_ok=True)
            self.s3.download_file(bucket, key, str(place))
        return len(keys)
