"""When timing more would hardly move the mean of what was timed."""

import math
from collections.abc import Sequence
from statistics import mean, stdev

_FEWEST_SECONDS = 2.0
_STEADY = 0.03


def is_steady(spent: float, rates: Sequence[float]) -> bool:
    """Whether timing more would hardly move the mean: 2 seconds were spent, and its standard error is under 3 %."""
    if spent < _FEWEST_SECONDS or len(rates) < 3:
        return False
    return stdev(rates) / math.sqrt(len(rates)) < _STEADY * mean(rates)


class Budget:
    """Seconds for several probes that come one after the other; each has its share of what is left.

    One that comes when nothing is left has a quarter of the share that it would have had at the start.
    """

    def __init__(self, seconds: float, num_probes: int) -> None:
        self._left, self._num_left = seconds, max(1, num_probes)
        self._least = seconds / self._num_left / 4

    def share(self) -> float:
        """The seconds for the next probe."""
        return max(self._least, self._left / max(1, self._num_left))

    def spend(self, seconds: float) -> None:
        """Take off what a probe took."""
        self._left, self._num_left = self._left - seconds, self._num_left - 1
