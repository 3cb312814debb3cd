import math
import time

import pytest
from quickness import quickest

from calltune.report.resampling import MeanOf, Ratio, intervals, paired_intervals, value_of


def shares(values: list[float]) -> Ratio:
    return Ratio(values, [1.0] * len(values))


def test_values_by_hand() -> None:
    assert value_of(Ratio([1, 0, 1], [1, 1, 0])) == 1.0
    assert value_of(Ratio([0, 0], [0, 0])) is None
    assert value_of(MeanOf((shares([1, 0]), shares([1, 1]), Ratio([0, 0], [0, 0])))) == 0.75
    assert value_of(MeanOf(())) is None


def test_what_both_sides_share_cancels() -> None:
    before = [1.0, 0.0] * 100
    after = [*before[:-2], 1.0, 1.0]
    low, high = paired_intervals({"m": shares(before)}, {"m": shares(after)}, seed=0)["m"]
    alone = intervals({"m": shares(after)}, seed=0)["m"]
    assert 0 <= low <= 0.005 <= high <= 0.02
    assert alone[1] - alone[0] > 0.1


def test_equal_sides_have_no_width() -> None:
    side = {"m": shares([1.0, 0.0, 1.0])}
    assert paired_intervals(side, {"m": shares([1.0, 0.0, 1.0])}, seed=0) == {"m": (0.0, 0.0)}


def test_the_seed_fixes_it() -> None:
    side, other = {"m": shares([1.0, 0.0] * 40)}, {"m": shares([0.0, 0.0, 1.0, 1.0] * 20)}
    assert paired_intervals(side, other, seed=3) == paired_intervals(side, other, seed=3)


def test_a_metric_over_other_rows_than_are_there_has_no_interval() -> None:
    assert intervals({"m": Ratio([0.0] * 5, [0.0] * 5)}, seed=0) == {}
    assert intervals({"m": Ratio([], [])}, seed=0) == {}
    assert intervals({}, seed=0) == {}


def test_only_metrics_of_both_sides_are_compared() -> None:
    assert set(paired_intervals({"a": shares([1.0]), "b": shares([1.0])}, {"b": shares([0.0])}, seed=0)) == {"b"}


def test_the_interval_of_a_share_is_about_the_normal_one() -> None:
    values = [1.0] * 300 + [0.0] * 700
    low, high = intervals({"m": shares(values)}, seed=0)["m"]
    reach = 1.96 * math.sqrt(0.3 * 0.7 / 1000)
    assert (low, high) == pytest.approx((0.3 - reach, 0.3 + reach), abs=0.003)


def test_many_kinds_of_rows_are_drawn_in_parts() -> None:
    values = [number / 5000 for number in range(5000)]
    low, high = intervals({"m": shares(values)}, seed=0, num_resamples=2000)["m"]
    reach = 1.96 * math.sqrt(1 / 12 / 5000)
    assert (low, high) == pytest.approx((0.4999 - reach, 0.4999 + reach), abs=0.002)


def test_the_whole_benchmark_is_quick() -> None:
    rows = range(3652)
    before = {f"m{k}": shares([float(n % (k + 2) == 0) for n in rows]) for k in range(10)}
    after = {f"m{k}": shares([float(n % (k + 3) == 0) for n in rows]) for k in range(10)}

    def seconds() -> float:
        started = time.process_time()
        paired_intervals(before, after, seed=0)
        return time.process_time() - started

    assert quickest(seconds, 8, tries=3) < 8
