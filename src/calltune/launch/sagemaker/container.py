"""This is process 1 of a training job: `container.py STAGE ROOT`. It needs the standard library alone.

It reads the secret, installs the pins, makes the run's folder out of the channels, and runs `calltune STAGE` in it.
The folder lies in `checkpoints`, which SageMaker copies to S3 while it is written and puts back on the next machine.
SIGTERM is handed on: training ends after its step, on every machine after the same one, with a checkpoint. `model`,
which becomes the job's artefact, is written only when the stage is complete; `output/failure` says in the user's own
words why it is not.

SageMaker takes the exit code 0 for a complete job, and any other for a failed one, unless it was asked to stop it. So
what was stopped before its end exits with 143: it is never complete, and the next attempt goes on from its checkpoints.
"""

import collections
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path
from typing import Any

LONGEST_FAILURE = 1024
STOPPED = 128 + signal.SIGTERM
FOLDER_OF = {"sft": "sft", "dpo": "dpo", "grpo": "grpo", "evaluate": "eval"}
LOCK = ".calltune.lock"


class Failure(Exception):
    """The job cannot go on; the text is the reason."""


class Stage:
    """Runs one stage of a run in this container."""

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
        """Hand SIGTERM on; while there is nobody to hand it to, there is nothing to keep either.

        A stage that has ended gets it in vain: what it made is handed over all the same.
        """
        self.stopped = True
        # It cannot be printed, as the signal may have come within a print.
        os.write(1, b"calltune: asked to stop\n")
        if self.child is None:
            os._exit(self.end_stopped())
        self.child.send_signal(signal.SIGTERM)

    def end_stopped(self) -> int:
        """Return the exit code of what was stopped; SageMaker shows the reason unless it was asked to stop the job."""
        os.write(1, b"calltune: stopped; the next attempt goes on from here\n")
        self.tell("it was asked to stop before its end")
        return STOPPED

    def tell(self, text: str) -> None:
        """Write why the job is not complete to where SageMaker looks for it."""
        place = self.root / "output"
        place.mkdir(parents=True, exist_ok=True)
        (place / "failure").write_text(text[:LONGEST_FAILURE], encoding="utf-8")

    def run(self) -> int:
        """Run the stage and return the exit code, which is 0 for a complete stage alone."""
        # A private index of packages may need a password, and boto3 comes with AWS's images.
        has_boto3 = importlib.util.find_spec("boto3") is not None
        self.secrets = self.read_secret() if has_boto3 else {}
        self.install()
        self.secrets = self.secrets or self.read_secret()
        self.look()
        self.lay_out()
        if len(self.hosts) > 1:
            self.wait_for_first_host()
        code = self.call([sys.executable, "-u", "-m", "calltune", self.stage, "config.json", *self.overrides()])
        if code == 0:
            # It counts also when it was asked to stop just then: another attempt would only do this.
            if self.rank == 0:
                link_tree(self.run_folder / FOLDER_OF[self.stage], self.root / "model")
            return 0
        # With 143 and no signal, another machine was asked to stop, and this one stopped with it.
        if self.stopped or code == STOPPED:
            return self.end_stopped()
        raise Failure(reason(list(self.lines), code))

    def install(self) -> None:
        """Install the pinned packages, and never another torch than the image's."""
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
        self.child = None

    def look(self) -> None:
        """Look for what this stage or a later one needs, before hours of training are paid for."""
        if self.call([sys.executable, "look.py"]):
            raise Failure((list(self.lines) or ["needs.json could not be read"])[-1])
        self.child = None

    def read_secret(self) -> dict[str, str]:
        """Read the secret's variables. The job's commands get them, and they are blotted out of what is printed."""
        if "CALLTUNE_SECRET_ARN" not in os.environ:
            return {}
        done = subprocess.run([sys.executable, str(self.code / "read_secret.py")], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"the secret could not be read: {(done.stderr.strip().splitlines() or [''])[-1]}")
        return {name: str(value) for name, value in json.loads(done.stdout).items()}

    def lay_out(self) -> None:
        """Make the run's folder as the stages before this one would have left it."""
        self.run_folder.mkdir(parents=True, exist_ok=True)
        for name in ("data", "sft", "dpo", "grpo"):
            channel, place = self.root / "input" / "data" / name, self.run_folder / name
            if channel.is_dir():
                unpack(channel)
                # What came back with the checkpoints may be a copy of what the link led to.
                if place.is_symlink():
                    place.unlink()
                elif place.is_dir():
                    shutil.rmtree(place)
                place.symlink_to(channel)
        # One job at a time has these checkpoints, so the machine that locked the folder is gone.
        if (lock := self.run_folder / LOCK).exists():
            lock.unlink()
            print("calltune: the lock of the machine before this one came with the checkpoints; removed", flush=True)
        # All that ever lay in the checkpoints' folder comes back.
        restored = self.run_folder / FOLDER_OF[self.stage] / "checkpoints"
        if restored.is_dir() and self.call([sys.executable, "restored.py", str(restored), self.stage]):
            raise Failure((list(self.lines) or ["the checkpoints could not be looked at"])[-1])
        self.child = None
        # This says whose folder it is: the checkpoints are of this stage with these inputs. calltune writes the rest.
        model = self.root / "input" / "data" / "model"
        owner = {"model": str(model) if model.is_dir() else self.config["model"]}
        (self.run_folder / "config.json").write_text(json.dumps(owner, allow_nan=False))

    def overrides(self) -> list[str]:
        """Return what of the run file only the container knows: its folders, and its place among the machines."""
        words = [f"output={self.root / 'checkpoints'}"]
        model = self.root / "input" / "data" / "model"
        if model.is_dir():
            unpack(model)
            words.append(f"model={model}")
        for number, benchmark in enumerate(self.config["evaluate"]["benchmarks"]):
            channel = self.root / "input" / "data" / f"benchmark-{number}"
            if channel.is_dir():
                file = channel / Path(benchmark["path"]).name
                words.append(f"evaluate.benchmarks.{number}.path={file if file.is_file() else channel}")
        machines = ["machines", len(self.hosts)], ["machine_rank", self.rank], ["main_address", f'"{self.hosts[0]}"']
        return [*words, *(f"launch.{key}={value}" for key, value in machines)]

    def wait_for_first_host(self) -> None:
        """Wait for the first machine's name: machines come up one after the other, and their names with them."""
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
                # A key may have several lines.
                for part in filter(None, value.splitlines()):
                    line = line.replace(part, f"<{name}>")
            # It tells a command to go on with; here SageMaker, or the next attempt, goes on.
            if line.startswith("calltune: interrupted;"):
                continue
            self.lines.append(line.rstrip("\n"))
            print(line, end="", flush=True)
        return child.wait()


def reason(lines: list[str], code: int) -> str:
    """Say why a stage failed: by calltune's line, an error and its traceback's end, a signal, or the last words."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    said = [line.removeprefix("calltune: ") for line in lines if line.startswith("calltune: ")]
    if code in (2, 4) and said:
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
    """Unpack an artefact that was written as an archive after all."""
    archive = channel / "model.tar.gz"
    if archive.exists():
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(channel, filter="data")
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise Failure(f"{channel.name}: model.tar.gz cannot be unpacked: {error}") from None
        archive.unlink()


def link_tree(source: Path, place: Path) -> None:
    """Give a stage's folder another name: by links where the disk is the same, which takes no time and no room."""

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
            return job.end_stopped()
        text = str(failure)
        if (line := f"calltune: {text.splitlines()[0]}") not in job.lines:
            print(line, flush=True)
        job.tell(text)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
