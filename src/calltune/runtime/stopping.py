"""SIGTERM and Ctrl-C: training ends after its current step, with a checkpoint; everything else ends at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(BaseException):
    """A signal asked the process to end; `signal` is its number.

    This is not an `Exception`, so that nobody catches it by chance.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Make SIGTERM raise `Stopped` wherever the program is, as Ctrl-C raises KeyboardInterrupt."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopRequest:
    """Which of SIGTERM and SIGINT came while `postponed_stop` was open; `signal` is None when neither did."""

    signal: int | None = None

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
def postponed_stop() -> Iterator[StopRequest]:
    """Note the first SIGTERM or SIGINT and go on; a second one ends the program where it is."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: Any) -> None:
        request.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
