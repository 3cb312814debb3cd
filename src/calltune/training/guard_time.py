"""How much of a stage's time its guard may take: how many questions it asks, and which checks it leaves out."""

import time
from collections.abc import Sequence

_FIRST_STEP = 2.0  # times as long as later ones: memory and kernels are new in it
_LEAST_CHECKS = 3  # at the start, on the way and at the end; few questions asked more often would see no fall


class GuardTime:
    """The clock of one stage's guard, on the process that asks."""

    def __init__(self, time_share: float, begun: float) -> None:
        """Begin with nothing spent.

        Args:
            time_share: the most time that checks may take, as a share of the stage's.
            begun: when the stage began, by `time.perf_counter`; loading the model belongs to it.
        """
        self._share, self._begun = time_share, begun
        self._trained_from = self._step_begun = begun
        self._from_step = self._num_steps = 0
        self._spent = self._limit = 0.0
        self._num_checks = 1
        self.of_check = 0.0

    def begin(self, from_step: int, num_steps: int, num_checks: int) -> None:
        """Training begins, after some steps that an earlier process did; `num_checks` come after the start."""
        self._trained_from = self._step_begun = time.perf_counter()
        self._from_step, self._num_steps, self._num_checks = from_step, num_steps, num_checks

    @property
    def before_training(self) -> float:
        """The seconds from the stage's beginning to its first step, such as for loading the model."""
        return self._trained_from - self._begun

    def step_begins(self) -> None:
        """Start the clock of a step."""
        self._step_begun = time.perf_counter()

    def first_step_ends(self) -> None:
        """Foretell the stage by its first step, and part what the guard may take among the fewest checks."""
        step = (time.perf_counter() - self._step_begun) / _FIRST_STEP
        self._limit = self._allowed(step) / min(_LEAST_CHECKS, self._num_checks + 1)

    def next_portion(self, seconds: float, size: int, num_asked: int, num_left: int) -> int:
        """Take note of a portion of the first check, and say how many questions to ask next; 0 ends the check."""
        self.took(seconds)
        self.of_check += seconds
        each = seconds / size
        for count in (num_left, min(num_left, num_asked), min(num_left, size)):
            if self.of_check + count * each <= self._limit:
                return count
        return 0

    def took(self, seconds: float) -> float:
        """Take note of what a check, or a part of it, took; the same seconds."""
        self._spent += seconds
        return seconds

    def allows(self, step: int, checks: Sequence[float]) -> bool:
        """Whether there is time for a check after a step, and for one more at the end.

        Args:
            checks: the seconds that each check so far took.
        """
        done = max(1, step - self._from_step)
        each = (time.perf_counter() - self._trained_from - self._spent) / done
        return sum(checks) + 2 * checks[-1] <= self._allowed(each)

    def _allowed(self, step: float) -> float:
        """The seconds of all checks, when a step takes so many."""
        return self._share * (self.before_training + self._num_steps * step)
