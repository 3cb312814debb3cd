"""Record what scikit-learn and SciPy compute on random labels and counts: writes `statistics.json`.

    python make_statistics.py

NVIDIA/When2Call (evaluation/mcq/lm_eval_harness/when2call/additional_metrics.py) calls scikit-learn's
`confusion_matrix(gold, predicted)`, over the classes that occur. Its task asks lm-eval for `macro_f1`, which no public
lm-eval has; taken here for `f1_score(gold, predicted, average="macro")`, over the classes that occur too. Not part of
the test run, which reads the file.
"""

import json
import platform
import random
import warnings
from importlib.metadata import version
from pathlib import Path

from scipy.stats import binom, binomtest
from sklearn.metrics import confusion_matrix, f1_score, recall_score

LABELS = ["direct", "tool_call", "request_for_info", "cannot_answer"]


def classification(generator):
    asked = generator.sample(LABELS, generator.randint(1, 4))
    given = generator.sample(LABELS, generator.randint(1, 4))
    size = generator.choice([1, 2, 3, 7, 20, 60])
    targets = generator.choices(asked, k=size)
    wrong = generator.choices(given, k=size)
    predictions = [t if generator.random() < 0.5 else p for t, p in zip(targets, wrong, strict=True)]
    both = {"labels": LABELS, "average": None, "zero_division": 0}
    return {
        "targets": [LABELS.index(label) for label in targets],
        "predictions": [LABELS.index(label) for label in predictions],
        "macro_f1": f1_score(targets, predictions, average="macro"),
        "macro_f1_all_labels": f1_score(targets, predictions, labels=LABELS, average="macro", zero_division=0),
        "macro_f1_last_three": f1_score(targets, predictions, labels=LABELS[1:], average="macro", zero_division=0),
        "recall": recall_score(targets, predictions, **both).tolist(),
        "confusion": confusion_matrix(targets, predictions, labels=LABELS).tolist(),
    }


def main():
    generator = random.Random(20261122)
    warnings.simplefilter("ignore")  # scikit-learn warns of classes that are never predicted; they are the point here
    pairs = [(0, 0), (1, 0), (0, 9), (5, 5), (3, 14), (40, 61), (500, 600), (1800, 1852)]
    shares = [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (142, 300), (2595, 3652), (1, 3652)]
    gold = {
        "made_by": {
            "packages": {name: version(name) for name in ("scikit-learn", "scipy", "numpy")},
            "python": platform.python_version(),
        },
        "labels": LABELS,
        "mcnemar": [[b, c, binomtest(min(b, c), b + c, 0.5).pvalue if b + c else 1.0] for b, c in pairs],
        "wilson": [
            [right, size, level, *binomtest(right, size).proportion_ci(level, method="wilson")]
            for right, size in shares
            for level in (0.95, 0.8)
        ],
        "binomial_quantiles": [
            [right, size, binom.ppf(0.025, size, right / size), binom.ppf(0.975, size, right / size)]
            for right, size in shares
            if 0 < right < size
        ],
        "classifications": [classification(generator) for _ in range(200)],
    }
    parts = {name: json.dumps(value) for name, value in gold.items()}
    parts["classifications"] = "[\n" + ",\n".join(map(json.dumps, gold["classifications"])) + "\n]"
    body = ",\n".join(f"{json.dumps(name)}: {text}" for name, text in parts.items())
    (Path(__file__).parent / "statistics.json").write_text("{" + body + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
