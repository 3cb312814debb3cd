"""How quick a thing is when nothing disturbs it: a busy machine must not fail a test, a slow change must."""

from collections.abc import Callable


def quickest(measure: Callable[[], float], limit: float, tries: int = 8) -> float:
    """The least of up to `tries` measurements; no more are taken once one is under `limit`."""
    least = measure()
    for _ in range(tries - 1):
        if least < limit:
            break
        least = min(least, measure())
    return least
