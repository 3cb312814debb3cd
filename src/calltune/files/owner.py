"""One command at a time writes into a run's folder, and a file there says which, for as long as it runs.

On one machine the system's own lock on the file decides. It ends with the process that holds it, however that ends, and
knows no clock. On a disk that several machines share such a lock may hold on one of them alone, or not at all. So the
owner also gives a sign of life every few seconds, by the file's time: a second machine takes the file over only when it
has watched and no sign came. Whether a process of this machine still runs is told by its number and its start, which
the system counts from its own, so that neither another clock nor another process of that number deceives.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from calltune.config.run_file import Config
from calltune.errors import RunFolderError
from calltune.files.lock_file import (
    LOCK,
    Owner,
    Sign,
    open_lock,
    owner_now,
    read_lock,
    start_of,
    this_process,
    write_lock,
)
from calltune.runtime import child
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say

SECONDS_BETWEEN_SIGNS = 10.0

_SIGNS_MISSING = 6
"""An owner on another machine that has missed fewer signs than these counts as alive."""

_SIGNS_WATCHED = 3
"""How many signs are waited for when more are missing. One clock may differ from the other by any time."""

_SECONDS_TO_SETTLE = 1.0
"""In this time whoever else takes the lock has written its name, and the processes of a dead owner have ended."""

_TRIES_TO_READ = 20


@contextmanager
def owning(config: Config, command: str) -> Iterator[None]:
    """Own the run's folder while the block runs; the folder is made, and removed again where nothing was written.

    Of several processes the first owns it, for all. Those that a launcher started, and other machines of the run, work
    for an owner and ask for nothing.

    Args:
        command: for the message of whoever comes meanwhile; without a secret in it.

    Raises:
        RunFolderError: another command owns it, or it cannot be written.
    """
    if child.is_child() or config.launch.machine_rank > 0:
        yield
        return
    held: list[Held] = []
    processes().first(lambda: held.append(take(config.run_folder, command)))
    try:
        yield
    finally:
        for one in held:
            one.release()


def take(folder: Path, command: str, seconds_between_signs: float = SECONDS_BETWEEN_SIGNS) -> "Held":
    """Become the owner of a folder, which is made where it is not there.

    Raises:
        RunFolderError: another command owns it, or may; or it cannot be written.
    """
    made = _make(folder)
    try:
        return _take(folder, command, seconds_between_signs, made)
    except BaseException:
        _remove_empty(made)
        raise


def _take(folder: Path, command: str, pace: float, made: Sequence[Path]) -> "Held":
    path, silent, num_tries = folder / LOCK, None, 0
    while True:
        descriptor, locked = open_lock(path)
        try:
            before, sign = read_lock(descriptor)
            this = this_process(command, bool(locked))
            state = "free" if before is None or sign == silent else _judge(before, sign, this, pace)
            if locked is None:
                state = "held"
            if state == "free":
                _become(this, before, folder, descriptor, pace)
                return Held(path, descriptor, this, pace, made)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        num_tries += 1
        if before is None and num_tries < _TRIES_TO_READ:
            # Whoever has the system's lock is about to write its name.
            time.sleep(0.05)
        elif before is None or state == "held" or _gives_sign(folder, before, sign, pace):
            raise _in_use(folder, before, this.kernel, pace)
        else:
            silent = sign


def _judge(before: Owner, sign: Sign, this: Owner, pace: float) -> str:
    """Whether an owner holds its lock (`held`), is gone (`free`), or only its signs of life can tell (`watch`)."""
    if before.kernel == this.kernel:
        if before.locked and this.locked:
            # The system would not have given this process the lock of one that runs.
            return "free"
        if before.namespace == this.namespace:
            return "held" if start_of(before.process) == before.started else "free"
    return "held" if 0 <= time.time() - sign.seconds < _SIGNS_MISSING * pace else "watch"


def _become(this: Owner, before: Owner | None, folder: Path, descriptor: int, pace: float) -> None:
    """Write this owner into the lock, and make sure that nobody else did at the same time."""
    path = folder / LOCK
    try:
        write_lock(descriptor, this)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise RunFolderError(f"{folder}: cannot be written: {error.strerror}") from None
    if before:
        say(f"{folder}: taken over from {before.words()}, which is gone")
    if before or not this.locked:
        time.sleep(min(_SECONDS_TO_SETTLE, pace))
        now = owner_now(path)
        if now and now.token != this.token:
            raise RunFolderError(f"{folder}: is in use by {now.words()}, which began in this moment, too")


def _gives_sign(folder: Path, before: Owner, sign: Sign, pace: float) -> bool:
    """Watch for a sign of life of an owner on another machine; no clock is asked whether it is new."""
    seconds = _SIGNS_WATCHED * pace
    say(f"{folder}: {before.words()} has given no sign of life lately; waiting {seconds:.0f} s for one")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(pace / 10)
        try:
            # Opened anew each time, as network disks look at the server then.
            descriptor = os.open(folder / LOCK, os.O_RDONLY)
        except OSError:
            return False
        try:
            now, newer = read_lock(descriptor)
        finally:
            os.close(descriptor)
        if newer != sign:
            return now is not None and now.token == before.token
    return False


class Held:
    """A lock that this process holds, with a thread that gives the signs of life."""

    def __init__(self, path: Path, descriptor: int, owner: Owner, pace: float, made: Sequence[Path]) -> None:
        self.owner, self._path, self._descriptor, self._pace, self._made = owner, path, descriptor, pace, made
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._give_signs, name="calltune lock", daemon=True)
        _DESCRIPTORS.add(descriptor)
        self._thread.start()

    def release(self) -> None:
        """Give the folder free, and remove it if nothing was written into it."""
        if os.getpid() != self.owner.process:
            # A fork, which has nothing to give.
            return
        self._is_over.set()
        self._thread.join()
        now = owner_now(self._path)
        if now and now.token == self.owner.token:
            # Before the system's lock goes with the descriptor: nobody can have taken it yet.
            self._path.unlink(missing_ok=True)
        _DESCRIPTORS.discard(self._descriptor)
        os.close(self._descriptor)
        _remove_empty(self._made)

    def _give_signs(self) -> None:
        while not self._is_over.wait(self._pace):
            # A disk that is away for a while is told by whoever works on it.
            with suppress(OSError):
                os.utime(self._descriptor)
            now = owner_now(self._path)
            if now and now.token != self.owner.token:
                folder = self._path.parent
                print(f"calltune: {folder}: was taken over by {now.words()}; this command ends", file=sys.stderr)
                # Not by an exception, which this thread cannot raise where the work is done.
                os._exit(2)


_DESCRIPTORS: set[int] = set()


def _forget() -> None:
    """Close the locks that a fork inherited: they must end with this process, not with its forks."""
    for descriptor in _DESCRIPTORS:
        with suppress(OSError):
            os.close(descriptor)
    _DESCRIPTORS.clear()


os.register_at_fork(after_in_child=_forget)


def _make(folder: Path) -> list[Path]:
    """Make a folder and those around it; returns those that were not there, the innermost first."""
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise RunFolderError(f"{folder}: is a file, the run's folder was expected") from None
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written: {error.strerror}") from None
    return missing


def _remove_empty(made: Sequence[Path]) -> None:
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


def _in_use(folder: Path, owner: Owner | None, kernel: str, pace: float) -> RunFolderError:
    if owner is None:
        return RunFolderError(f"{folder}: is in use by another command, which has just begun")
    line = f"{folder}: is in use by {owner.words()}; wait for its end, or end it"
    if owner.kernel == kernel:
        return RunFolderError(line)
    return RunFolderError(
        f"{line}. If you know that it is dead, remove {folder / LOCK}; without a sign of life for "
        f"{_SIGNS_MISSING * pace:.0f} s it is taken over"
    )
