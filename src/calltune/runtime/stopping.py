"""SIGTERM and Ctrl-C: training ends after its current step, with a checkpoint; everything else ends at once.

Python raises an exception for a signal between two of its own instructions only. A library that computes for minutes,
or waits for a server, would hold it back. So a thread watches for signals too, and ends a process that has not ended by
itself within seconds. That spoils nothing: what is written is whole or not there, as after a kill.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from calltune.runtime.terminal import say

SECONDS_TO_END = 5.0
"""Within these a process has ended after a signal, unless it finishes a step of training first."""


class Stopped(BaseException):
    """A signal asked the process to end; `signal` is its number.

    This is not an `Exception`, so that nobody catches it by chance.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


@contextmanager
def stoppable(last_words: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Make SIGTERM raise `Stopped` wherever the program is, as Ctrl-C raises KeyboardInterrupt.

    When the block has not ended `SECONDS_TO_END` after a signal (within `ended_soon`, one second after it), the process
    is ended where it is.

    Args:
        last_words: called before the process is ended so.
    """

    def stop(number: int, frame: Any) -> None:
        raise Stopped(number)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(reader, over, last_words), daemon=True)
    before = signal.signal(signal.SIGTERM, stop)
    # The number of every signal that comes is written there at once, whatever the program is doing.
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGTERM, before)
        os.close(writer)
        thread.join()
        os.close(reader)


@contextmanager
def ended_soon() -> Iterator[None]:
    """Within it, a process that was told to end is ended after a second: nothing that it does is worth more time."""
    _PATIENCE.append(1.0)
    try:
        yield
    finally:
        _PATIENCE.pop()


@contextmanager
def at_forced_end(action: Callable[[], object]) -> Iterator[None]:
    """Do something also when the process is ended where it is: what a `finally` would do, and no more than that."""
    _LAST_ACTIONS.append(action)
    try:
        yield
    finally:
        _LAST_ACTIONS.remove(action)


def end_within_seconds(code: int) -> None:
    """End the process with this exit code in `SECONDS_TO_END`, should its threads keep it from ending by itself."""

    def end() -> None:
        _end_now(code)

    timer = threading.Timer(SECONDS_TO_END, end)
    timer.daemon = True
    timer.start()


class StopRequest:
    """Which of SIGTERM and SIGINT came while `postponed_stop` was open; `signal` is None when neither did."""

    signal: int | None = None

    def __init__(self, told: str = "") -> None:
        self._told, self.is_told = told, False
        self.is_over = threading.Event()

    def tell(self) -> None:
        """Say, once, what is finished before the program ends."""
        self.is_told = True
        if self._told:
            say(self._told)
            sys.stdout.flush()

    def raise_if_asked(self) -> None:
        """End the program as the signal would have.

        Raises:
            Stopped: SIGTERM came.
            KeyboardInterrupt: SIGINT came.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise Stopped(self.signal)


@contextmanager
def postponed_stop(told: str = "") -> Iterator[StopRequest]:
    """Note the first SIGTERM or SIGINT and go on; a second one ends the program where it is.

    When the block is over, the caller ends the program with `raise_if_asked`, within `SECONDS_TO_END`.

    Args:
        told: what the user is told when the first one comes.
    """
    request = StopRequest(told)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: Any) -> None:
        request.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    _POSTPONED.append(request)
    try:
        yield request
    finally:
        _POSTPONED.remove(request)
        restore()
        request.is_over.set()


_POSTPONED: list[StopRequest] = []
_PATIENCE: list[float] = [SECONDS_TO_END]
_LAST_ACTIONS: list[Callable[[], object]] = []


def _watch(reader: int, over: threading.Event, last_words: Callable[[], None]) -> None:
    """Read the numbers of signals until the other end is closed; end the process that does not end by itself."""
    while numbers := os.read(reader, 64):
        for number in numbers:
            if number not in (signal.SIGTERM, signal.SIGINT):
                continue
            request = _POSTPONED[-1] if _POSTPONED else None
            if request is not None and not request.is_told:
                request.tell()
                waiter = threading.Thread(target=_wait, args=(request, over, number, last_words), daemon=True)
                waiter.start()
            elif not over.wait(_PATIENCE[-1]):
                _end_now(128 + number, last_words)


def _wait(request: StopRequest, over: threading.Event, number: int, last_words: Callable[[], None]) -> None:
    """End the process that does not end by itself once its step is finished."""
    request.is_over.wait()
    if not over.wait(SECONDS_TO_END):
        _end_now(128 + number, last_words)


def _end_now(code: int, last_words: Callable[[], None] = lambda: None) -> None:
    try:
        for action in reversed(_LAST_ACTIONS):
            action()
        last_words()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
