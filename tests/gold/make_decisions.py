"""Record what torchmetrics and scikit-learn compute on random probabilities: writes `decisions.json`.

    pip install torchmetrics scikit-learn; python make_decisions.py

Not part of the test run, which reads the file.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import brier_score_loss, roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

CLASSES = 4


def case(generator):
    size = int(generator.integers(2, 120))
    probabilities = generator.dirichlet([generator.uniform(0.2, 2)] * CLASSES, size=size).round(6)
    probabilities[:, -1] = 1 - probabilities[:, :-1].sum(axis=1)
    probabilities = np.abs(probabilities)
    targets = generator.integers(0, CLASSES, size=size)
    scores = probabilities[:, 1].round(int(generator.integers(1, 6)))
    both = len(set((targets == 1).tolist())) == 2
    return {
        "probabilities": probabilities.round(6).tolist(),
        "targets": targets.tolist(),
        "scores": scores.tolist(),
        "calibration_error": float(
            multiclass_calibration_error(
                torch.tensor(probabilities.round(6)), torch.tensor(targets), CLASSES, n_bins=15, norm="l1"
            )
        ),
        "brier": float(brier_score_loss(targets, probabilities.round(6), labels=range(CLASSES), scale_by_half=True)),
        "auroc": float(roc_auc_score(targets == 1, scores)) if both else None,
    }


def main():
    generator = np.random.default_rng(20261127)
    packages = ("torchmetrics", "scikit-learn", "torch", "numpy")
    made_by = {"packages": {name: version(name) for name in packages}, "python": platform.python_version()}
    cases = ",\n".join(json.dumps(case(generator)) for _ in range(40))
    text = f'{{"made_by": {json.dumps(made_by)},\n"cases": [\n{cases}\n]}}\n'
    (Path(__file__).parent / "decisions.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
