"""Our paired intervals and tests against SciPy's bootstrap and statsmodels' McNemar (`make_intervals.py`)."""

import json
from pathlib import Path

import pytest

from calltune.evaluation.statistics import mcnemar, mcnemar_mid_p
from calltune.report.resampling import MeanOf, Measure, Ratio, paired_intervals, value_of

GOLD = json.loads((Path(__file__).parent / "intervals.json").read_text(encoding="utf-8"))


def written_as_measures(targets: list[int], given: list[int]) -> dict[str, Measure]:
    right = [float(t == g) for t, g in zip(targets, given, strict=True)]
    due = [float(target == 1) for target in targets]
    f1 = [
        Ratio(
            [2.0 * (t == g == name) for t, g in zip(targets, given, strict=True)],
            [float(t == name) + float(g == name) for t, g in zip(targets, given, strict=True)],
        )
        for name in range(4)
    ]
    return {
        "accuracy": Ratio(right, [1.0] * len(targets)),
        "recall_of_calls": Ratio([r * d for r, d in zip(right, due, strict=True)], due),
        "macro_f1": MeanOf(tuple(f1)),
    }


@pytest.mark.parametrize("case", GOLD["cases"], ids=lambda case: f"{len(case['targets'])} rows")
def test_paired_intervals_equal_scipy(case: dict) -> None:
    before = written_as_measures(case["targets"], case["before"])
    after = written_as_measures(case["targets"], case["after"])
    found = paired_intervals(before, after, seed=1, num_resamples=40_000)
    for name in before:
        first, second = value_of(before[name]), value_of(after[name])
        assert first is not None
        assert second is not None
        assert second - first == pytest.approx(case[name]["value"], abs=1e-12)
        # Four standard deviations of SciPy's own ends, which is far under a tenth of the interval's width; a mean over
        # few rows moves in steps of one row.
        for end, gold, spread in zip(found[name], case[name]["interval"], case[name]["spread"], strict=True):
            assert end == pytest.approx(gold, abs=4 * spread + 0.5 / len(case["targets"]))


@pytest.mark.parametrize(("b", "c", "p_value"), GOLD["mcnemar"])
def test_mcnemar_equals_statsmodels(b: int, c: int, p_value: float) -> None:
    assert mcnemar(b, c) == pytest.approx(p_value, rel=1e-9)


@pytest.mark.parametrize(("b", "c", "p_value"), GOLD["mcnemar_mid_p"])
def test_mid_p_equals_its_definition(b: int, c: int, p_value: float) -> None:
    assert mcnemar_mid_p(b, c) == pytest.approx(p_value, rel=1e-9)
    assert mcnemar_mid_p(b, c) == mcnemar_mid_p(c, b)
