import random
import time

import pytest
from quickness import quickest

from calltune.evaluation.statistics import (
    bootstrap_interval,
    confusion,
    macro_f1,
    mcnemar,
    mcnemar_mid_p,
    recall_per_class,
    tango_interval,
    wilson_interval,
)


def test_macro_f1_by_hand():
    # tool: tp 1, fp 1, fn 0 -> 2/3; ask: tp 1, fp 0, fn 1 -> 2/3.
    assert macro_f1(["tool", "ask", "ask"], ["tool", "ask", "tool"]) == pytest.approx(2 / 3)


def test_one_prediction_of_a_class_that_is_never_right_lowers_macro_f1():
    targets = ["tool", "ask"] * 50
    predictions = [*targets[:-1], "direct"]
    assert macro_f1(targets, predictions) == pytest.approx((1 + 2 * 49 / 99 + 0) / 3)
    assert macro_f1(targets, predictions, ["tool", "ask"]) == pytest.approx((1 + 2 * 49 / 99) / 2)


def test_classes_that_do_not_occur_count_as_nothing_right():
    assert macro_f1(["a"], ["a"], ["a", "b"]) == 0.5


def test_no_rows_are_no_score():
    assert macro_f1([], []) is None
    assert recall_per_class([], []) == {}
    assert recall_per_class([], [], ["a"]) == {"a": None}
    assert confusion([], [], ["a", "b"]) == [[0, 0], [0, 0]]


def test_recall_names_the_targets_in_order():
    assert recall_per_class(["b", "a", "b"], ["b", "c", "a"]) == {"a": 0.0, "b": 0.5}


def test_confusion_rows_are_targets():
    assert confusion(["a", "a", "b"], ["a", "b", "b"], ["a", "b"]) == [[1, 1], [0, 1]]


def test_confusion_refuses_a_label_that_has_no_place():
    with pytest.raises(ValueError, match="labels outside a: z"):
        confusion(["a"], ["z"], ["a"])


@pytest.mark.parametrize("count", [macro_f1, recall_per_class])
def test_sequences_of_different_length_are_refused(count):
    with pytest.raises(ValueError, match="zip"):
        count(["a", "b"], ["a"])


def test_bootstrap_is_fixed_by_its_seed():
    generator = random.Random(3)
    for values in ([1.0, 0.0, 1.0, 1.0] * 20, [generator.random() for _ in range(80)]):
        assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) != bootstrap_interval(values, seed=6)


def test_bootstrap_draws_of_two_kinds_and_of_many_agree():
    generator = random.Random(0)
    values = [float(generator.random() < 0.3) for _ in range(200)]
    # One value moved by nothing that matters takes the other path.
    nearly = [values[0] + 1e-9, *values[1:]]
    assert bootstrap_interval(values, 1, 4000) == pytest.approx(bootstrap_interval(nearly, 1, 4000), abs=0.012)


def test_bootstrap_knows_other_pairs_than_zero_and_one():
    low, high = bootstrap_interval([-2.0] * 50 + [6.0] * 50, seed=0)
    zero, one = bootstrap_interval([0.0] * 50 + [1.0] * 50, seed=0)
    assert (low, high) == pytest.approx((8 * zero - 2, 8 * one - 2))


def test_bootstrap_holds_the_mean_about_as_often_as_it_says():
    generator = random.Random(1)
    held = 0
    for seed in range(200):
        values = [generator.gauss(0, 1) for _ in range(40)]
        low, high = bootstrap_interval(values, seed, num_resamples=300)
        held += low <= 0 <= high
    assert 180 <= held <= 198


def test_bootstrap_of_one_value_has_no_width():
    assert bootstrap_interval([0.25], seed=0) == (0.25, 0.25)
    assert bootstrap_interval([1.0] * 9, seed=0) == (1.0, 1.0)


def test_bootstrap_of_extreme_shares_stays_inside():
    low, high = bootstrap_interval([1.0] * 3651 + [0.0], seed=0)
    assert 0.998 < low <= high == 1.0


def test_bootstrap_refuses_nothing_and_odd_levels():
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([], seed=0)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        bootstrap_interval([1.0], seed=0, level=95)


def test_bootstrap_of_the_whole_benchmark_is_quick():
    def seconds() -> float:
        started = time.process_time()
        bootstrap_interval([1.0] * 2000 + [0.0] * 1652, seed=0)
        return time.process_time() - started

    assert quickest(seconds, 0.5) < 0.5


def test_wilson_of_nothing_knows_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_refuses_impossible_counts():
    with pytest.raises(ValueError, match="3 correct of 2 samples"):
        wilson_interval(3, 2)


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2)
    with pytest.raises(ValueError, match="negative"):
        mcnemar_mid_p(2, -1)


@pytest.mark.parametrize("size", [1, 24, 3652])
def test_tango_of_no_flips_is_its_closed_form(size):
    reach = 1.959964**2 / (size + 1.959964**2)
    assert tango_interval(0, 0, size) == pytest.approx((-reach, reach), rel=1e-5)


def test_tango_turns_with_the_sides():
    low, high = tango_interval(3, 1, 40)
    assert low < 2 / 40 < high
    assert tango_interval(1, 3, 40) == pytest.approx((-high, -low))


def test_tango_of_many_flips_is_about_the_normal_interval():
    wins, losses, size = 400, 300, 3652
    share = (wins - losses) / size
    reach = 1.96 * ((wins + losses) / size - share**2) ** 0.5 / size**0.5
    assert tango_interval(wins, losses, size) == pytest.approx((share - reach, share + reach), abs=2e-4)


def test_tango_of_nothing_knows_nothing():
    assert tango_interval(0, 0, 0) == (-1.0, 1.0)
    low, high = tango_interval(5, 0, 5)
    assert 0 < low < high == pytest.approx(1.0)
    with pytest.raises(ValueError, match="impossible"):
        tango_interval(3, 3, 5)
