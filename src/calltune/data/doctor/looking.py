"""Rows looked at in several processes; what is seen comes in the rows' order, however many they are."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

from calltune.data.doctor.spool import NumberedRow
from calltune.runtime.workers import worker_processes
from calltune.types import Example, Preference, Rejected

Seen = TypeVar("Seen", covariant=True)

_ROWS_PER_TASK = 128
_TASKS_AHEAD = 3
"""How many tasks are handed out for each process, so that no process waits and few rows are held."""


class Looker(Protocol[Seen]):
    """Looks at rows one by one."""

    def look(self, row: Example | Preference | Rejected, source: int, /) -> Seen:
        """Return what is seen of a row; `source` is the number of its source."""
        ...


_looker: Looker[Any] | None = None


def looked_at(rows: Iterable[NumberedRow], begin: Callable[[], Looker[Seen]], num_workers: int) -> Iterator[Seen]:
    """Yield what is seen of each row, in the order of the rows.

    Args:
        rows: each row with the number of its source.
        begin: makes what looks, once in each process, so it must be such as can be sent there.
        num_workers: how many processes look at rows. Rows that do not fill one task are looked at in this process.
    """
    rows = iter(rows)
    first = list(islice(rows, _ROWS_PER_TASK))
    if num_workers == 1 or len(first) < _ROWS_PER_TASK:
        looker = begin()
        for source, row in chain(first, rows):
            yield looker.look(row, source)
        return
    tasks = chain([first], iter(lambda: list(islice(rows, _ROWS_PER_TASK)), []))
    with worker_processes(num_workers, _begin, (begin,)) as pool:
        waiting: deque[Future[list[Seen]]] = deque()
        for task in tasks:
            waiting.append(pool.submit(_look, task))
            if len(waiting) >= _TASKS_AHEAD * num_workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _begin(begin: Callable[[], Looker[Any]]) -> None:
    global _looker
    _looker = begin()


def _look(task: list[NumberedRow]) -> list[Any]:
    assert _looker is not None, "the worker was begun"
    return [_looker.look(row, source) for source, row in task]
