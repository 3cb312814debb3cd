"""How good probabilities are: calibration error, Brier score, ranking, and what is risked at which coverage.

Equal to torchmetrics' `MulticlassCalibrationError` (15 bins, L1) and scikit-learn's `brier_score_loss` and
`roc_auc_score`, as recorded in `tests/gold/decisions.json`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

BINS = 15
Statistic = Callable[[np.ndarray], float]
"""A figure of some rows, which are named by their numbers, with repetitions."""


def calibration_error(confidences: Sequence[float] | np.ndarray, right: Sequence[Any] | np.ndarray) -> float:
    """The expected calibration error: how far confidence is from the share that is right, on average over 15 bins.

    A bin holds its lower edge, the last one its upper edge too (Guo et al. 2017).

    Raises:
        ValueError: there are no rows.
    """
    sure, hits = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(sure):
        raise ValueError("a calibration error needs at least one row")
    places = np.minimum(np.searchsorted(np.linspace(0, 1, BINS + 1), sure, side="right") - 1, BINS - 1)
    gaps = np.bincount(places, hits - sure, minlength=BINS)
    return float(np.abs(gaps).sum() / len(sure))


def brier(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Half of the mean squared distance of probabilities [rows, classes] from the truth, in [0, 1].

    Args:
        targets: the number of each row's right class.
    """
    truth = np.eye(probabilities.shape[1])[targets]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean() / 2)


def auroc(scores: Sequence[float] | np.ndarray, is_positive: Sequence[Any] | np.ndarray) -> float | None:
    """How often a positive row has the higher score of a pair, ties by half; None where there are no such pairs."""
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(is_positive, dtype=bool)
    num_pairs = int(positive.sum()) * int((~positive).sum())
    if not num_pairs:
        return None
    others = np.sort(values[~positive])
    below = np.searchsorted(others, values[positive], side="left").sum()
    up_to = np.searchsorted(others, values[positive], side="right").sum()
    return float((below + up_to) / 2 / num_pairs)


def risks(confidences: Sequence[float] | np.ndarray, right: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The share of wrong rows among the k surest, for k from 1 to all of them.

    Rows of one confidence come in no order, so each counts with their mean.
    """
    sure, wrong = np.asarray(confidences, dtype=np.float64), 1 - np.asarray(right, dtype=np.float64)
    _, where, counts = np.unique(-sure, return_inverse=True, return_counts=True)
    means = np.bincount(where, wrong) / counts
    return np.repeat(means, counts).cumsum() / np.arange(1, len(sure) + 1)


def risk_at(curve: np.ndarray, coverage: float) -> float:
    """The risk when this share of the rows, rounded up, is decided and the least sure ones are left."""
    return float(curve[max(1, int(np.ceil(coverage * len(curve) - 1e-9))) - 1])


def paired_interval(
    before: Statistic, after: Statistic, num_rows: int, seed: int = 0, num_resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of `after - before`; both see the same rows in each resample (Efron 1979)."""
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(num_resamples):
        rows = generator.integers(num_rows, size=num_rows)
        differences.append(after(rows) - before(rows))
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
