"""Probabilities of behaviours made to hold: a temperature and a bias for each behaviour, and when to call.

Both are fitted by likelihood on held-out rows whose behaviour is known. Each behaviour that they show counts the same,
however many rows show it: how often each occurs in training rows was chosen when these were made, and says nothing of
the questions to come. A normal prior of width 1 holds the logarithm
of the temperature and each bias near 0, so that a few rows move them little, and a behaviour that none of the rows has
keeps a probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calltune.types import BEHAVIORS, Behavior

LEAST = 1e-6
"""What a probability counts as at least, before its logarithm is taken."""

LEAST_ROWS = 20
"""Fewer held-out rows calibrate nothing."""

CALL = BEHAVIORS.index("tool_call")


@dataclass(frozen=True, slots=True)
class Calibration:
    """How raw probabilities become calibrated ones, and the probability of a call from which on it is made.

    `biases` are in nats, in the order of `BEHAVIORS`. `num_rows` were fitted on; with none of them nothing changes.
    """

    temperature: float = 1.0
    biases: tuple[float, ...] = (0.0,) * len(BEHAVIORS)
    threshold: float = 0.5
    num_rows: int = 0

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Calibrated probabilities [rows, behaviours] of raw ones."""
        return _softmax(_logarithms(raw) / self.temperature + np.array(self.biases))

    def decided(self, probabilities: Sequence[float]) -> Behavior:
        """What is decided: a call from the threshold on, else the likeliest of the others."""
        if probabilities[CALL] >= self.threshold:
            return "tool_call"
        others = [number for number in range(len(BEHAVIORS)) if number != CALL]
        return BEHAVIORS[max(others, key=lambda number: probabilities[number])]


def is_fit(behaviors: Sequence[Behavior]) -> bool:
    """Whether held-out rows of these behaviours are enough to calibrate on."""
    return len(behaviors) >= LEAST_ROWS and len(set(behaviors)) > 1


def fit(raw: np.ndarray, behaviors: Sequence[Behavior]) -> Calibration:
    """Fit a calibration; with fewer than `LEAST_ROWS` rows, or rows of one behaviour alone, there is none.

    Args:
        raw: probabilities [rows, behaviours].
        behaviors: what is right in each row.
    """
    if not is_fit(behaviors):
        return Calibration()
    from scipy.optimize import minimize

    values = _logarithms(raw)
    right = np.array([[name == each for name in BEHAVIORS] for each in behaviors], dtype=np.float64)
    numbers = right.sum(axis=0)
    weights = (right / np.maximum(numbers, 1)).sum(axis=1) * len(right) / np.count_nonzero(numbers)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scale, biases = np.exp(parameters[0]), parameters[1:]
        probabilities = _softmax(values * scale + biases)
        off = (probabilities - right) * weights[:, None]
        worth = -(weights * np.log(np.maximum((probabilities * right).sum(axis=1), 1e-300))).sum()
        slope = np.concatenate([[(off * values).sum() * scale], off.sum(axis=0)])
        return float(worth + 0.5 * (parameters**2).sum()), slope + parameters

    start = np.zeros(1 + len(BEHAVIORS))
    best: Any = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-4, 4)] + [(None, None)] * len(BEHAVIORS))
    calibration = Calibration(float(np.exp(-best.x[0])), tuple(map(float, best.x[1:])), num_rows=len(behaviors))
    calls = calibration.probabilities(raw)[:, CALL]
    threshold = best_threshold(calls, right[:, CALL] == 1)
    return Calibration(calibration.temperature, calibration.biases, threshold, calibration.num_rows)


def best_threshold(calls: np.ndarray, is_due: np.ndarray) -> float:
    """The probability of a call from which on it is made, with the least mean of needless and missed calls.

    Between two neighbouring probabilities nothing changes, so only their middles are tried, and 0.5; the nearest to 0.5
    is taken among equals. It is 0.5 where calls are due in all rows, or in none.
    """
    if is_due.all() or not is_due.any():
        return 0.5
    known = np.unique(calls)
    tried = np.concatenate([[0.5], (known[1:] + known[:-1]) / 2])
    due, undue = np.sort(calls[is_due]), np.sort(calls[~is_due])
    missed = np.searchsorted(due, tried, side="left") / len(due)
    needless = 1 - np.searchsorted(undue, tried, side="left") / len(undue)
    wrong = missed + needless
    # Equal up to rounding of the sums.
    return float(min(tried[wrong <= wrong.min() + 1e-12], key=lambda each: abs(each - 0.5)))


def _logarithms(raw: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(raw, LEAST))


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
