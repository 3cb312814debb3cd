"""Record SciPy's paired bootstrap intervals and statsmodels' McNemar tests on random rows: writes `intervals.json`.

    python make_intervals.py

`scipy.stats.bootstrap` draws rows one by one, calltune draws counts of kinds of rows: the same distribution, so the
ends agree up to what two seeds of SciPy's own differ by, which is recorded as `spread` (the standard deviation of each
end over ten seeds). Not part of the test run, which reads the file.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.stats import binom, bootstrap
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar

LABELS = ["direct", "tool_call", "request_for_info", "cannot_answer"]


def answers(generator, targets, share):
    wrong = generator.integers(0, 4, len(targets))
    return np.where(generator.random(len(targets)) < share, targets, wrong)


def difference(metric, targets, before, after):
    def statistic(targets, before, after):
        return metric(targets, after) - metric(targets, before)

    found = [
        bootstrap(
            (targets, before, after),
            statistic,
            paired=True,
            vectorized=False,
            n_resamples=4000,
            method="percentile",
            rng=seed,
        ).confidence_interval
        for seed in range(10)
    ]
    ends = np.array([[each.low, each.high] for each in found])
    return {
        "value": float(statistic(targets, before, after)),
        "interval": ends.mean(axis=0).tolist(),
        "spread": ends.std(axis=0, ddof=1).tolist(),
    }


def accuracy(targets, given):
    return np.mean(targets == given)


def recall_of_calls(targets, given):
    return np.mean(given[targets == 1] == 1)


def macro_f1(targets, given):
    # The classes are fixed, as scikit-learn's own choice would be slow here; a class that does not occur is left out.
    scores = [
        2 * np.sum((targets == name) & (given == name)) / size
        for name in range(4)
        if (size := np.sum(targets == name) + np.sum(given == name))
    ]
    return np.mean(scores)


def case(generator, size):
    targets = generator.integers(0, 4, size)
    before, after = answers(generator, targets, 0.4), answers(generator, targets, 0.6)
    # Most answers stay as they were, as they do from one checkpoint to the next.
    after = np.where(generator.random(size) < 0.5, before, after)
    assert np.isclose(macro_f1(targets, after), f1_score(targets, after, average="macro"))
    return {
        "targets": targets.tolist(),
        "before": before.tolist(),
        "after": after.tolist(),
        "accuracy": difference(accuracy, targets, before, after),
        "recall_of_calls": difference(recall_of_calls, targets, before, after),
        "macro_f1": difference(macro_f1, targets, before, after),
    }


def main():
    generator = np.random.default_rng(20261122)
    pairs = [(0, 0), (1, 0), (0, 9), (5, 5), (3, 14), (40, 61), (500, 600), (1800, 1852)]
    gold = {
        "made_by": {name: version(name) for name in ("scipy", "statsmodels", "scikit-learn", "numpy")}
        | {"python": platform.python_version()},
        "mcnemar": [[b, c, float(mcnemar([[0, b], [c, 0]], exact=True).pvalue) if b + c else 1.0] for b, c in pairs],
        # Fagerland, Lydersen and Laake 2013, equation 4; 1 - pmf / 2 where both counts are equal.
        "mcnemar_mid_p": [
            [
                b,
                c,
                float(
                    1 - binom.pmf(b, b + c, 0.5) / 2
                    if b == c
                    else 2 * binom.cdf(min(b, c), b + c, 0.5) - binom.pmf(b, b + c, 0.5)
                ),
            ]
            for b, c in pairs
            if b + c
        ],
        "cases": [case(generator, size) for size in (100, 240, 800)],
    }
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in gold.items())
    (Path(__file__).parent / "intervals.json").write_text("{" + text + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
