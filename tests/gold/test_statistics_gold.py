"""Our statistics against scikit-learn 1.9 and SciPy 1.17 (`make_statistics.py`)."""

import json
from pathlib import Path

import pytest

from calltune.evaluation.statistics import (
    bootstrap_interval,
    confusion,
    macro_f1,
    mcnemar,
    recall_per_class,
    wilson_interval,
)

GOLD = json.loads((Path(__file__).parent / "statistics.json").read_text(encoding="utf-8"))
LABELS = GOLD["labels"]


@pytest.mark.parametrize("case", GOLD["classifications"], ids=range(len(GOLD["classifications"])))
def test_classification_equals_scikit_learn(case):
    targets = [LABELS[number] for number in case["targets"]]
    predictions = [LABELS[number] for number in case["predictions"]]
    assert macro_f1(targets, predictions) == pytest.approx(case["macro_f1"], rel=1e-12)
    assert macro_f1(targets, predictions, LABELS) == pytest.approx(case["macro_f1_all_labels"], rel=1e-12)
    assert macro_f1(targets, predictions, LABELS[1:]) == pytest.approx(case["macro_f1_last_three"], rel=1e-12)
    assert confusion(targets, predictions, LABELS) == case["confusion"]
    recalls = recall_per_class(targets, predictions, LABELS)
    assert list(recalls) == LABELS
    for label, expected in zip(LABELS, case["recall"], strict=True):
        # scikit-learn fills in 0 where a class is never a target; here there is no number.
        assert recalls[label] == (pytest.approx(expected, rel=1e-12) if label in targets else None)


@pytest.mark.parametrize(("b", "c", "p_value"), GOLD["mcnemar"])
def test_mcnemar_equals_the_exact_binomial_test(b, c, p_value):
    assert mcnemar(b, c) == pytest.approx(p_value, rel=1e-9)
    assert mcnemar(c, b) == mcnemar(b, c)


@pytest.mark.parametrize(("right", "size", "level", "low", "high"), GOLD["wilson"])
def test_wilson_interval_equals_scipy(right, size, level, low, high):
    assert wilson_interval(right, size, level) == pytest.approx((low, high), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("right", "size", "low", "high"), GOLD["binomial_quantiles"])
def test_bootstrap_of_right_and_wrong_is_near_the_binomial_quantiles(right, size, low, high):
    values = [1.0] * right + [0.0] * (size - right)
    found_low, found_high = bootstrap_interval(values, seed=1, num_resamples=20_000)
    margin = 0.05 * (high - low) + 1
    assert found_low * size == pytest.approx(low, abs=margin)
    assert found_high * size == pytest.approx(high, abs=margin)
