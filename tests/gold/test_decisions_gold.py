"""Our figures of probabilities against torchmetrics 1.9 and scikit-learn 1.9 (`make_decisions.py`)."""

import json
from pathlib import Path

import numpy as np
import pytest

from calltune.evaluation.decision_statistics import auroc, brier, calibration_error

GOLD = json.loads((Path(__file__).parent / "decisions.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLD["cases"], ids=range(len(GOLD["cases"])))
def test_figures_equal_the_libraries(case: dict) -> None:
    probabilities, targets = np.array(case["probabilities"]), np.array(case["targets"])
    error = calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)
    # torchmetrics computes in float32.
    assert error == pytest.approx(case["calibration_error"], abs=1e-6)
    assert brier(probabilities, targets) == pytest.approx(case["brier"], abs=1e-9)
    assert auroc(case["scores"], targets == 1) == (
        None if case["auroc"] is None else pytest.approx(case["auroc"], abs=1e-12)
    )
