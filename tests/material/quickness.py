"""How quick a thing is when nothing disturbs it: a busy or slow machine must not fail a test, a slow change must."""

import functools
import time
from collections.abc import Callable

USUAL_SECONDS = 0.05


def quickest(measure: Callable[[], float], limit: float, tries: int = 8) -> float:
    """The least of up to `tries` measurements, as on a usual machine; no more are taken once one is under `limit`."""
    least = measure() / slowness()
    for _ in range(tries - 1):
        if least < limit:
            break
        least = min(least, measure() / slowness())
    return least


@functools.cache
def slowness() -> float:
    """How many times longer than a usual machine this one counts to a million; 1 where it is quicker."""

    def seconds() -> float:
        started = time.process_time()
        sum(number & 1 for number in range(1_000_000))
        return time.process_time() - started

    return max(1.0, min(seconds() for _ in range(3)) / USUAL_SECONDS)
