"""What so many questions can show, told before a model is asked any of them."""

from math import ceil

from calltune.evaluation.statistics import tango_interval

TOO_WIDE = 0.10
"""A share. Where only larger differences can be seen, most of what training brings is lost among chance."""


def smallest_difference(num_questions: int) -> float:
    """Return the difference between two models that chance alone may hide, a share.

    It is how far the paired interval reaches to each side where not a single answer differs.
    """
    return tango_interval(0, 0, num_questions)[1]


def power_line(title: str, num_questions: int) -> tuple[bool, str]:
    """Return whether so many questions of a benchmark are too few, and a line that says what can be seen with them."""
    if not num_questions:
        return True, f"{title}: there is no test question, and without one nothing can be measured"
    smallest = smallest_difference(num_questions)
    line = (
        f"{title}: {num_questions:,} test question{'s'[: num_questions != 1]}: only differences above "
        f"{ceil(100 * smallest)} points can be seen"
    )
    return smallest > TOO_WIDE, line
