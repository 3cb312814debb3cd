"""Process 1 of a training job: `container.py STAGE ROOT`, the standard library alone, as nothing is installed yet.

It installs the pins, makes the run's folder out of the channels, and runs `calltune STAGE` in it. The folder lies in
`checkpoints`, which SageMaker copies to S3 while it is written and puts back on the next machine. SIGTERM is handed on:
training ends after its step, on every machine after the same one, with a checkpoint. `model`, which becomes the job's
artefact, is written only when the stage is complete; `output/failure` says in the user's own words why it is not.
"""

import collections
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

LONGEST_FAILURE = 1024
FOLDER_OF = {"sft": "sft", "dpo": "dpo", "evaluate": "eval"}
READ_SECRET = """
import boto3, json, os
arn = os.environ["CALLTUNE_SECRET_ARN"]
region = arn.split(":")[3]
text = boto3.client("secretsmanager", region_name=region).get_secret_value(SecretId=arn)["SecretString"]
try:
    value = json.loads(text)
except ValueError:
    value = text
print(json.dumps(value if isinstance(value, dict) else {"HF_TOKEN": text.strip()}, allow_nan=False))
"""


class Failure(Exception):
    """The job cannot go on; the text is the reason."""


class Stage:
    """One stage of a run in this container."""

    def __init__(self, stage: str, root: str) -> None:
        self.stage, self.root, self.code = stage, Path(root), Path(root) / "code"
        self.config = json.loads((self.code / "config.json").read_text())
        self.run_folder = self.root / "checkpoints" / self.config["name"]
        self.resources = json.loads((self.root / "input" / "config" / "resourceconfig.json").read_text())
        self.hosts = sorted(self.resources["hosts"], key=lambda host: (len(host), host))
        self.rank = self.hosts.index(self.resources["current_host"])
        self.child: subprocess.Popen[str] | None = None
        self.stopped, self.secrets = False, dict[str, str]()
        self.lines = collections.deque[str](maxlen=200)

    def stop(self, number: int, frame: Any) -> None:
        """Hand SIGTERM on; before there is anybody to hand it to, there is nothing to keep either."""
        self.stopped = True
        print("calltune: asked to stop", flush=True)
        if self.child is None:
            os._exit(0)
        self.child.send_signal(signal.SIGTERM)

    def run(self) -> int:
        """The exit code: 0 also after a stop, which is nobody's failure."""
        self.install()
        self.secrets = self.read_secret()
        self.lay_out()
        if len(self.hosts) > 1:
            self.wait_for_first_host()
        code = self.call([sys.executable, "-u", "-m", "calltune", self.stage, "config.json", *self.overrides()])
        # 143: another machine was asked to stop, and this one stopped with it.
        if self.stopped or code == 128 + signal.SIGTERM:
            print("calltune: stopped; the next attempt goes on from here", flush=True)
            return 0
        if code:
            raise Failure(reason(list(self.lines), code))
        if self.rank == 0:
            link_tree(self.run_folder / FOLDER_OF[self.stage], self.root / "model")
        return 0

    def install(self) -> None:
        """The pinned packages, never another torch than the image's."""
        if not (self.code / "requirements.txt").read_text().strip():
            return
        try:
            torch = f"torch=={importlib.metadata.version('torch')}\n"
        except importlib.metadata.PackageNotFoundError:
            raise Failure("the image has no torch") from None
        (self.code / "constraints.txt").write_text(torch)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        if self.call([*pip, "-r", "requirements.txt", "-c", "constraints.txt"]):
            said = [line for line in self.lines if line.startswith("ERROR")] or list(self.lines) or ["pip failed"]
            raise Failure(f"the packages could not be installed: {said[-1]}")

    def read_secret(self) -> dict[str, str]:
        """The secret's variables, which are given to the stage alone and blotted out of all that is printed."""
        if "CALLTUNE_SECRET_ARN" not in os.environ:
            return {}
        done = subprocess.run([sys.executable, "-c", READ_SECRET], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"the secret could not be read: {(done.stderr.strip().splitlines() or [''])[-1]}")
        return {name: str(value) for name, value in json.loads(done.stdout).items()}

    def lay_out(self) -> None:
        """The run's folder, as the stages before this one would have left it."""
        self.run_folder.mkdir(parents=True, exist_ok=True)
        for name in ("data", "sft", "dpo"):
            channel, place = self.root / "input" / "data" / name, self.run_folder / name
            if channel.is_dir():
                unpack(channel)
                # What came back with the checkpoints may be a copy of what the link led to.
                if place.is_symlink():
                    place.unlink()
                elif place.is_dir():
                    shutil.rmtree(place)
                place.symlink_to(channel)
        # Whose folder this is: the checkpoints are those of this stage with these inputs. calltune writes the rest.
        model = self.root / "input" / "data" / "model"
        owner = {"model": str(model) if model.is_dir() else self.config["model"]}
        (self.run_folder / "config.json").write_text(json.dumps(owner, allow_nan=False))

    def overrides(self) -> list[str]:
        """What of the run file only the container knows: its folders, and its place among the machines."""
        found = [f"output={self.root / 'checkpoints'}"]
        model = self.root / "input" / "data" / "model"
        if model.is_dir():
            unpack(model)
            found.append(f"model={model}")
        for number, benchmark in enumerate(self.config["evaluate"]["benchmarks"]):
            channel = self.root / "input" / "data" / f"benchmark-{number}"
            if channel.is_dir():
                file = channel / Path(benchmark["path"]).name
                found.append(f"evaluate.benchmarks.{number}.path={file if file.is_file() else channel}")
        machines = ["machines", len(self.hosts)], ["machine_rank", self.rank], ["main_address", f'"{self.hosts[0]}"']
        return [*found, *(f"launch.{key}={value}" for key, value in machines)]

    def wait_for_first_host(self) -> None:
        """Machines come up one after the other, and their names with them."""
        deadline = time.monotonic() + 600
        while True:
            try:
                socket.getaddrinfo(self.hosts[0], None)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise Failure(f"{self.hosts[0]} could not be reached") from None
                time.sleep(1)

    def call(self, command: list[str]) -> int:
        """Run a command, hand on what it prints without the secrets, and return its exit code."""
        paths = [str(self.code), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, **self.secrets, "PYTHONPATH": os.pathsep.join(paths)}
        if len(self.hosts) > 1:
            device = self.resources.get("network_interface_name", "eth0")
            environment.update(NCCL_SOCKET_IFNAME=device, GLOO_SOCKET_IFNAME=device)
        self.lines.clear()
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        child = subprocess.Popen(command, cwd=self.code, env=environment, text=True, errors="replace", **streams)
        self.child = child
        if self.stopped:
            child.send_signal(signal.SIGTERM)
        for line in child.stdout or ():
            for name, value in self.secrets.items():
                line = line.replace(value, f"<{name}>") if value else line
            # It tells a command to go on with; here SageMaker, or the next attempt, goes on.
            if line.startswith("calltune: interrupted;"):
                continue
            self.lines.append(line.rstrip("\n"))
            print(line, end="", flush=True)
        code, self.child = child.wait(), None
        return code


def reason(lines: list[str], code: int) -> str:
    """Why a stage failed: the user's own line, an error with the end of its traceback, a signal, or the last words."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    said = [line.removeprefix("calltune: ") for line in lines if line.startswith("calltune: ")]
    if code == 2 and said:
        return said[-1]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if starts:
        trace = lines[starts[-1] :]
        end = next((n for n, line in enumerate(trace) if n and line and not line.startswith(" ")), len(trace) - 1)
        head = trace[end]
        where = "\n".join(trace[:end])[-(LONGEST_FAILURE - len(head) - 20) :]
        return f"{head}\n{where}"
    return f"exit code {code}: {lines[-1] if lines else 'nothing was printed'}"


def unpack(channel: Path) -> None:
    """An artefact that was written as an archive after all."""
    archive = channel / "model.tar.gz"
    if archive.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(channel, filter="data")
        archive.unlink()


def link_tree(source: Path, place: Path) -> None:
    """The stage's folder under another name: as links where the disk is the same, which takes no time and no room."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    shutil.copytree(source, place, copy_function=link, dirs_exist_ok=True)


def main(stage: str, root: str) -> int:
    """Run the stage; a reason that it failed goes where SageMaker looks for one."""
    job = Stage(stage, root)
    signal.signal(signal.SIGTERM, job.stop)
    try:
        return job.run()
    except Failure as failure:
        if job.stopped:
            return 0
        text = str(failure)
        if (line := f"calltune: {text.splitlines()[0]}") not in job.lines:
            print(line, flush=True)
        place = Path(root) / "output"
        place.mkdir(parents=True, exist_ok=True)
        (place / "failure").write_text(text[:LONGEST_FAILURE], encoding="utf-8")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
