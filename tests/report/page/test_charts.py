"""What the plots draw."""

import pytest

from calltune.report.page.charts import Bar, ladder, lines, smoothed


def test_a_curve_of_many_points_is_smoothed_and_one_of_few_is_not() -> None:
    few = [(float(x), float(x % 2)) for x in range(19)]
    assert smoothed(few) is few
    many = [(float(x), float(x % 2)) for x in range(100)]
    smooth = smoothed(many)
    assert [x for x, _ in smooth] == [x for x, _ in many]
    assert all(abs(y - 0.5) < 0.1 for _, y in smooth)
    # A straight line stays one where there are neighbours on both sides.
    straight = smoothed([(float(x), 2.0 * x) for x in range(40)])
    assert straight[20] == (20.0, pytest.approx(40.0))
    drawn = lines("t", {"loss": many}, "step", ["c1"])
    assert drawn.count("<path") == 2
    assert f"loss ends at {smooth[-1][1]:.3g}" in drawn
    assert lines("t", {"loss": few}, "step", ["c1"]).count("<path") == 1


def test_a_rule_without_a_model_has_a_row_of_its_own_and_no_line() -> None:
    drawn = ladder("t", [Bar("base", 0.3, (0.2, 0.4), "c0")], {"reading the options alone": 0.6, "majority": 0.25})
    assert drawn.count("<circle") == 1
    assert drawn.count("<rect") == 2
    assert drawn.count("no model:") == 2
    assert "without a model, reading the options alone: 60.0 %" in drawn
    assert "dash" not in drawn
