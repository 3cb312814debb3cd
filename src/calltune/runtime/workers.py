"""Worker processes that leave when they are told to: with their parent, and never by a signal meant for it."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from calltune.runtime.stopping import postponed_stop

_SPAWN = multiprocessing.get_context("spawn")
"""Workers are not forked: they need nothing of this process, and forked tokenizers may hang."""


class _Pool(ProcessPoolExecutor):
    """A pool that starts each process whole, also when a stop comes: half of one would end with a traceback."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a process if none is idle, and hand the task out."""
        with postponed_stop() as request:
            future = super().submit(fn, *args, **kwargs)
        request.raise_if_asked()
        return future


@contextmanager
def worker_processes(
    count: int, begin: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes; when the block is left by an exception, they are killed, whatever they are doing.

    Args:
        count: how many processes there are.
        begin: called in each with `arguments`, before anything else.
    """
    others = set(multiprocessing.active_children())
    pool = _Pool(count, _SPAWN, _begin, (begin, arguments))
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # Else this process, in its end, would wait for what they have begun.
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise


def _begin(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # A signal for the whole group reaches the parent as well, which decides.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _end_with_parent() -> None:
    """A parent that was killed tells nobody, and its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "it was spawned"
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
