"""What so many questions can show."""

import pytest

from calltune.evaluation.power import power_line, smallest_difference
from calltune.evaluation.statistics import tango_interval


@pytest.mark.parametrize(("number", "points"), [(4, 49), (8, 33), (35, 10), (240, 2), (3652, 1)])
def test_the_line_says_what_the_interval_hides(number: int, points: int) -> None:
    is_few, line = power_line("when2call", number)
    assert line == f"when2call: {number:,} test questions: only differences above {points} points can be seen"
    assert is_few == (number < 35)
    # A share that is smaller is never told from none, whatever flips.
    below = int(smallest_difference(number) * number)
    assert tango_interval(below, 0, number)[0] <= 0 or below / number >= smallest_difference(number) - 1e-9


def test_one_question_and_none() -> None:
    assert "1 test question: only differences above 80 points" in power_line("bfcl", 1)[1]
    assert power_line("bfcl", 0) == (True, "bfcl: there is no test question, and without one nothing can be measured")
