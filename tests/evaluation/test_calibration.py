"""A calibration finds what spoiled probabilities, and an operating point is the best there is."""

import numpy as np
import pytest

from calltune.evaluation.calibration import CALL, LEAST_ROWS, Calibration, best_threshold, fit
from calltune.evaluation.decision_statistics import calibration_error, paired_interval, risk_at, risks
from calltune.types import BEHAVIORS


def drawn(number: int, temperature: float, biases: list[float], seed: int = 0):
    """Probabilities spoiled by a temperature and biases, and behaviours drawn by the true ones."""
    generator = np.random.default_rng(seed)
    true = generator.dirichlet([0.7] * 4, size=number).clip(1e-4)
    true /= true.sum(axis=1, keepdims=True)
    spoiled = np.exp((np.log(true) - np.array(biases)) * temperature)
    spoiled /= spoiled.sum(axis=1, keepdims=True)
    behaviors = [BEHAVIORS[generator.choice(4, p=row)] for row in true]
    return true, spoiled, behaviors


@pytest.mark.parametrize(("temperature", "biases"), [(2.5, [0, 0, 0, 0]), (0.5, [0.3, -1, 0.5, 0.2])])
def test_it_finds_what_spoiled_them(temperature: float, biases: list[float]) -> None:
    true, spoiled, behaviors = drawn(4000, temperature, biases)
    calibration = fit(spoiled, behaviors)
    assert calibration.temperature == pytest.approx(temperature, rel=0.1)
    assert np.array(calibration.biases) == pytest.approx(np.array(biases) - np.mean(biases), abs=0.15)
    assert sum(calibration.biases) == pytest.approx(0, abs=1e-3)
    assert np.abs(calibration.probabilities(spoiled) - true).mean() < 0.02
    assert np.abs(spoiled - true).mean() > 0.08
    assert calibration.num_rows == 4000


def test_its_probabilities_hold_on_other_rows() -> None:
    _, spoiled, behaviors = drawn(300, 3.0, [0, 1, 0, 0])
    calibration = fit(spoiled, behaviors)
    _, fresh, right = drawn(2000, 3.0, [0, 1, 0, 0], seed=1)
    numbers = np.array([BEHAVIORS.index(name) for name in right])

    def error(probabilities: np.ndarray, rows: np.ndarray) -> float:
        part = probabilities[rows]
        return calibration_error(part.max(axis=1), part.argmax(axis=1) == numbers[rows])

    after = calibration.probabilities(fresh)
    low, high = paired_interval(lambda rows: error(fresh, rows), lambda rows: error(after, rows), 2000)
    assert low < error(after, np.arange(2000)) - error(fresh, np.arange(2000)) < high < -0.05


def test_how_often_a_behaviour_occurs_among_the_rows_does_not_matter() -> None:
    _, spoiled, behaviors = drawn(4000, 2.0, [0] * 4)
    kept = [n for n, name in enumerate(behaviors) if name != "direct" or n % 5 == 0]
    few, all_rows = fit(spoiled[kept], [behaviors[n] for n in kept]), fit(spoiled, behaviors)
    assert behaviors.count("direct") > 4 * sum(behaviors[n] == "direct" for n in kept)
    assert np.array(few.biases) == pytest.approx(np.array(all_rows.biases), abs=0.2)
    assert few.temperature == pytest.approx(all_rows.temperature, rel=0.1)


def test_few_rows_or_one_behaviour_calibrate_nothing() -> None:
    _, spoiled, behaviors = drawn(LEAST_ROWS - 1, 2.0, [0] * 4)
    assert fit(spoiled, behaviors) == Calibration()
    assert fit(np.full((50, 4), 0.25), ["direct"] * 50) == Calibration()
    raw = np.array([[0.1, 0.2, 0.3, 0.4]])
    assert Calibration().probabilities(raw) == pytest.approx(raw)


def test_a_behaviour_that_no_row_has_keeps_a_probability() -> None:
    calibration = fit(np.array([[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0]] * 20), ["direct", "tool_call"] * 20)
    assert np.abs(calibration.biases).max() < 5
    assert calibration.probabilities(np.full((1, 4), 0.25)).min() > 0.001


def test_the_threshold_is_the_best_of_all() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        calls = generator.integers(0, 12, size=40) / 12
        is_due = generator.random(40) < 0.2 + 0.6 * calls

        def wrong(threshold: float, calls: np.ndarray = calls, is_due: np.ndarray = is_due) -> float:
            made = calls >= threshold
            return made[~is_due].mean() + (~made)[is_due].mean()

        chosen = best_threshold(calls, is_due)
        assert wrong(chosen) == pytest.approx(min(wrong(each) for each in np.linspace(-0.01, 1.01, 500)))
    assert best_threshold(np.array([0.1, 0.9]), np.array([True, True])) == 0.5
    assert best_threshold(np.array([0.4, 0.6]), np.array([False, True])) == 0.5


def test_a_call_is_made_from_the_threshold_on() -> None:
    row = [0.3, 0.3, 0.3, 0.1]
    assert Calibration(threshold=0.3).decided(row) == "tool_call"
    assert Calibration(threshold=0.31).decided(row) == "direct"
    assert BEHAVIORS[CALL] == "tool_call"


def test_risks_by_hand() -> None:
    curve = risks([0.9, 0.8, 0.8, 0.1], [1, 0, 1, 0])
    # The two of one confidence have an error of a half each.
    assert curve == pytest.approx([0, 0.25, 1 / 3, 0.5])
    assert risk_at(curve, 0.5) == 0.25
    assert risk_at(curve, 0.8) == 0.5
    assert risk_at(curve, 0.01) == 0


def test_no_rows_have_no_error() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        calibration_error([], [])
