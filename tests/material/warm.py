"""`python WORDS` without the seconds of its imports: forked from a process that has them behind it.

It is for tests of what a process does and leaves, and how it ends. What it does when it starts, with threads, imports
or garbage, is tested in a fresh one.
"""

import atexit
import functools
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Process:
    """What tests need of `subprocess.Popen`. What the process prints goes to files, so it never waits for a reader."""

    def __init__(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        # Open until `communicate` has read them.
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        request = {"words": words, "folder": os.getcwd(), "environment": dict(environment or os.environ)}
        self.pid: int = _ask(request, [file.fileno() for file in self._files])
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = _ask({"pid": self.pid})
        return self.returncode

    def kill(self) -> None:
        """As the kernel kills."""
        os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """Wait for its end, and return what it printed to stdout and to stderr."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["python"], timeout, *self.printed())
            time.sleep(0.01)
        out, error = self.printed()
        for file in self._files:
            file.close()
        return out, error

    def printed(self) -> list[str]:
        """What came to stdout and to stderr until now."""
        return [os.pread(file.fileno(), 1 << 24, 0).decode(errors="replace") for file in self._files]


def run(*words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Like `subprocess.run([sys.executable, *words], capture_output=True, text=True)`."""
    return _ended(Process(*words), words, timeout)


def run_together(number: int, *words: str, timeout: float = 240) -> list[subprocess.CompletedProcess[str]]:
    """As many processes of one group, told who they are in the variables that `torchrun` sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(number)}
    ranks = [group | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]
    started = [Process(*words, environment=os.environ | rank) for rank in ranks]
    return [_ended(process, words, timeout) for process in started]


def _ended(process: Process, words: tuple[str, ...], timeout: float) -> subprocess.CompletedProcess[str]:
    out, error = process.communicate(timeout)
    assert process.returncode is not None
    return subprocess.CompletedProcess(words, process.returncode, out, error)


def _ask(request: dict[str, Any], files: list[int] | None = None) -> Any:
    channel = _server()
    socket.send_fds(channel, [json.dumps(request).encode() + b"\n"], files or [])
    return json.loads(_line(channel)[0])


@functools.cache
def _server() -> socket.socket:
    """Our end of the channel; when it closes with this process, the server ends, and all that it has started."""
    ours, theirs = socket.socketpair()
    with theirs:
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        command = [sys.executable, __file__, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], **quiet)
    # Nobody waits for it, which is no fault of whoever looks for processes left behind.
    process.returncode = 0
    atexit.register(ours.close)
    return ours


def _line(channel: socket.socket) -> tuple[bytes, list[int]]:
    """A line, which may come in parts, and the files that came with it; nothing when the other end is closed."""
    text, files, _, _ = socket.recv_fds(channel, 1 << 16, 2)
    while text and not text.endswith(b"\n"):
        text += channel.recv(1 << 16)
    return text, files


def _serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork for each request, and tell exit codes; returns in a fork, with what it is to do, and None in the end."""
    running = set[int]()
    while (line := _line(channel))[0]:
        request, files = json.loads(line[0]), line[1]
        if "words" in request:
            if (answer := os.fork()) == 0:
                channel.close()
                for place, file in enumerate(files, start=1):
                    os.dup2(file, place)
                return request
            running.add(answer)
            for file in files:
                os.close(file)
        else:
            pid, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
            running.discard(pid)
        channel.sendall(json.dumps(answer).encode() + b"\n")
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    return None


def _become(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what `python WORDS` does."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(words[1], {"__name__": "__main__"})
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    import gc

    import mlflow  # noqa: F401

    import calltune.verbs.dpo
    import calltune.verbs.run
    import calltune.verbs.sft  # noqa: F401

    gc.freeze()
    if todo := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _become(**todo)
