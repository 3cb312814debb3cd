"""Scores of classifications, and how sure one may be of them; the standard library alone.

Classes are compared as scikit-learn 1.9 does (`f1_score`, `confusion_matrix`, `recall_score` with zero_division=0).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from math import comb, copysign, exp, inf, lgamma, log, log1p, sqrt
from random import Random
from statistics import NormalDist


def macro_f1(targets: Sequence[str], predictions: Sequence[str], labels: Sequence[str] | None = None) -> float | None:
    """The mean of the classes' F1 scores, in [0, 1]; None when there is no class.

    Args:
        targets: the right labels.
        predictions: the predicted ones, in the same order.
        labels: the classes that are averaged, each with the same weight. Without it, those that occur as a target or as
            a prediction, as in scikit-learn and so in NVIDIA's figures: a wrong class that is predicted only once
            enters the mean with 0. A class of `labels` that does not occur counts 0; classes outside are left out of
            the mean, yet their rows still count as errors of the others.

    Raises:
        ValueError: the sequences differ in length.
    """
    pairs = Counter(zip(targets, predictions, strict=True))
    asked, given = Counter(targets), Counter(predictions)
    classes = sorted(asked | given) if labels is None else labels
    if not classes:
        return None
    # F1 = 2 tp / (2 tp + fp + fn), and the denominator is how often the class was asked plus how often it was given.
    scores = [
        2 * pairs[name, name] / (asked[name] + given[name]) if asked[name] + given[name] else 0 for name in classes
    ]
    return sum(scores) / len(scores)


def confusion(targets: Sequence[str], predictions: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Counts by target (row) and prediction (column), both in the order of `labels`.

    Raises:
        ValueError: the sequences differ in length, or a label is not in `labels` (scikit-learn leaves such rows out).
    """
    pairs = Counter(zip(targets, predictions, strict=True))
    unknown = {name for pair in pairs for name in pair}.difference(labels)
    if unknown:
        raise ValueError(f"labels outside {', '.join(labels)}: {', '.join(sorted(unknown))}")
    return [[pairs[target, prediction] for prediction in labels] for target in labels]


def recall_per_class(
    targets: Sequence[str], predictions: Sequence[str], labels: Sequence[str] | None = None
) -> dict[str, float | None]:
    """By class the share of its rows that were predicted right; None for a class that is never a target.

    Without `labels`, the classes that occur as a target, in alphabetical order.

    Raises:
        ValueError: the sequences differ in length.
    """
    right = Counter(target for target, prediction in zip(targets, predictions, strict=True) if target == prediction)
    asked = Counter(targets)
    return {
        name: right[name] / asked[name] if asked[name] else None
        for name in (sorted(asked) if labels is None else labels)
    }


def bootstrap_interval(
    values: Sequence[float], seed: int, num_resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of `values` (Efron 1979).

    A resample of values of two kinds, such as 0 and 1, is decided by how often the second is drawn, a binomial number:
    it is drawn as such, which gives the same distribution in milliseconds. Other values are drawn one by one, about a
    second for 3,652 values. The same seed gives the same interval.

    Args:
        values: one number per sample, such as its score.
        seed: of the random generator.
        num_resamples: how many means are drawn.
        level: the share of the means that the interval holds.

    Raises:
        ValueError: there are no values, or level is not between 0 and 1.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    generator = Random(seed)
    kinds = sorted(set(values))
    if len(kinds) == 1:
        return float(kinds[0]), float(kinds[0])
    if len(kinds) == 2:
        low, high = kinds
        share = sum(value == high for value in values) / len(values)
        below = _binomial_cumulative(len(values), share)
        counts = (min(bisect_left(below, generator.random()), len(values)) for _ in range(num_resamples))
        means = sorted(low + (high - low) * count / len(values) for count in counts)
    else:
        means = sorted(sum(generator.choices(values, k=len(values))) / len(values) for _ in range(num_resamples))
    return _quantile(means, (1 - level) / 2), _quantile(means, (1 + level) / 2)


def wilson_interval(num_correct: int, num_samples: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, without continuity correction (1927); (0, 1) of no samples.

    Raises:
        ValueError: the counts are not 0 <= num_correct <= num_samples.
    """
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"{num_correct} correct of {num_samples} samples is impossible")
    if not num_samples:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = num_correct / num_samples
    centre = share + z * z / (2 * num_samples)
    reach = z * sqrt(share * (1 - share) / num_samples + (z / (2 * num_samples)) ** 2)
    scale = 1 + z * z / num_samples
    # At the ends the exact bound is 0 or 1; rounding would miss it by one unit in the last place.
    low = 0.0 if num_correct == 0 else (centre - reach) / scale
    high = 1.0 if num_correct == num_samples else (centre + reach) / scale
    return low, high


def tango_interval(wins: int, losses: int, num_pairs: int, level: float = 0.95) -> tuple[float, float]:
    """Tango's score interval of a paired difference of shares, `(wins - losses) / num_pairs` (Tango 1998).

    Unlike a bootstrap it does not lose its width where hardly a pair differs; (-1, 1) of no pairs.

    Raises:
        ValueError: the counts are impossible.
    """
    if min(wins, losses) < 0 or wins + losses > num_pairs:
        raise ValueError(f"{wins} wins and {losses} losses of {num_pairs} pairs are impossible")
    if not num_pairs:
        return -1.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)

    def score(difference: float) -> float:
        rest = difference * (1 - difference)
        b = (2 * num_pairs - wins + losses) * difference - wins - losses
        share = (sqrt(max(0.0, b * b + 8 * num_pairs * losses * rest)) - b) / (4 * num_pairs)
        distance, variance = wins - losses - num_pairs * difference, num_pairs * (2 * share + rest)
        return distance / sqrt(variance) if variance > 0 else copysign(inf, distance) if distance else 0.0

    def crossing(bound: float) -> float:
        # The score falls from one end to the other.
        low, high = -1.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > bound else (low, middle)
        return (low + high) / 2

    return crossing(z), crossing(-z)


def mcnemar(b: int, c: int) -> float:
    """The exact two-sided p-value of McNemar's test: is `b` against `c` more than a fair coin gives?

    `b` samples are right only by the first of two models, `c` only by the second; those on which they agree say
    nothing. 1 when there are none.

    Raises:
        ValueError: a count is negative.
    """
    if min(b, c) < 0:
        raise ValueError("counts cannot be negative")
    tail = ways = 1
    for count in range(min(b, c)):
        ways = ways * (b + c - count) // (count + 1)
        tail += ways
    return min(1.0, 2 * tail / 2 ** (b + c))


def mcnemar_mid_p(b: int, c: int) -> float:
    """McNemar's two-sided mid-p-value (Fagerland, Lydersen and Laake 2013): less cautious than the exact one.

    The exact p-value counts the outcome that was seen in full, this one by half; 1 when there are no such samples.

    Raises:
        ValueError: a count is negative.
    """
    if min(b, c) < 0:
        raise ValueError("counts cannot be negative")
    if b == c:
        # Both tails meet in the middle, which is seen once.
        return 1 - comb(2 * b, b) / 2 ** (2 * b + 1) if b else 1.0
    return mcnemar(b, c) - comb(b + c, b) / 2 ** (b + c)


def _binomial_cumulative(num_draws: int, share: float) -> list[float]:
    # By logarithms: the powers alone underflow from about a thousand draws on.
    all_ways = lgamma(num_draws + 1)
    return list(
        accumulate(
            exp(
                all_ways
                - lgamma(count + 1)
                - lgamma(num_draws - count + 1)
                + count * log(share)
                + (num_draws - count) * log1p(-share)
            )
            for count in range(num_draws + 1)
        )
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    # Between neighbours in proportion, as numpy's default.
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
