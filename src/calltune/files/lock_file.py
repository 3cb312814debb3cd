"""The file that says who writes into a run's folder: read, and locked as far as the disk knows locks."""

import fcntl
import getpass
import json
import os
import socket
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from calltune.errors import RunFolderError
from calltune.files.json_lines import json_text

LOCK = ".calltune.lock"


@dataclass(frozen=True, slots=True)
class Owner:
    """The command that writes into a run's folder.

    `token` tells two owners apart. `kernel` is one start of one machine, `namespace` the numbering that `process` is
    of, and `started` when that process began, as the system counts. `locked` says whether the system's lock worked.
    """

    token: str
    host: str
    kernel: str
    namespace: str
    process: int
    started: str
    user: str
    command: str
    since: str
    locked: bool

    def words(self) -> str:
        """The owner for a message."""
        command = self.command if len(self.command) <= 200 else f"{self.command[:200]}..."
        return f"'{command}' (process {self.process} of {self.user} on {self.host}, since {self.since})"


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life: whose it is, and the time of the lock's file in nanoseconds."""

    token: str
    nanoseconds: int

    @property
    def seconds(self) -> float:
        """The same time in seconds."""
        return self.nanoseconds / 1e9


def open_lock(path: Path) -> tuple[int, bool | None]:
    """Open the lock's file and ask for the system's lock on it.

    Returns:
        The descriptor, and whether the lock is there: False where the disk knows none, None when another has it.
    """
    while True:
        try:
            # An owner that goes takes a folder with it that it made for nothing.
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunFolderError(f"{path.parent}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked: bool | None = True
        except BlockingIOError:
            locked = None
        except OSError:
            locked = False
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor, locked
        # Its owner has removed it in this moment.
        os.close(descriptor)


def read_lock(descriptor: int) -> tuple[Owner | None, Sign]:
    """The owner in a lock's file, None when there is none, or none that is whole; and its last sign of life."""
    sign = os.fstat(descriptor).st_mtime_ns
    try:
        row = json.loads(os.pread(descriptor, 1 << 16, 0))
        values = {field.name: row[field.name] for field in fields(Owner)}
    except (ValueError, KeyError, TypeError):
        return None, Sign("", sign)
    if any(type(values[field.name]) is not field.type for field in fields(Owner)):
        return None, Sign("", sign)
    owner = Owner(**values)
    return owner, Sign(owner.token, sign)


def write_lock(descriptor: int, owner: Owner) -> None:
    """Write the owner into a lock's file.

    Raises:
        OSError: the disk is full, for instance.
    """
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json_text(asdict(owner), indent=2).encode(), 0)
    os.fsync(descriptor)


def owner_now(path: Path) -> Owner | None:
    """The owner in a lock's file; None when there is no file, or no whole one."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return read_lock(descriptor)[0]
    except OSError:
        return None
    finally:
        os.close(descriptor)


def this_process(command: str, locked: bool) -> Owner:
    """This process as an owner."""
    host = socket.gethostname()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    kernel, namespace = host, ""
    with suppress(OSError):
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
    number = os.getpid()
    return Owner(uuid4().hex, host, kernel, namespace, number, start_of(number), user, command, since, locked)


def start_of(process: int) -> str:
    """When a process began, as the system counts; empty when no such process runs."""
    if not Path("/proc/self/stat").exists():
        told = subprocess.run(["ps", "-o", "lstart=", "-p", str(process)], capture_output=True, text=True, check=False)
        return told.stdout.strip()
    try:
        # The name before the bracket may hold blanks and brackets.
        words = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]
