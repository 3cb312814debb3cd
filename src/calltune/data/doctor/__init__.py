"""The data doctor: it finds what is wrong with training rows, before time is spent on them.

`prepare` runs it and acts, `check` runs it and only tells. Worker processes look at each row once, by itself
(`examine`), which gives its `Facts`. Then the rows are judged beside each other (`judge`), which gives each row that is
left out its finding and reason. At last all of it is told (`tell`). `docs/doctor.md` says what each finding means.
"""

from typing import Literal

Finding = Literal[
    "broken",
    "template",
    "null_padding",
    "foreign_tool",
    "invalid_call",
    "retried_call",
    "failed_call",
    "swapped_result",
    "corrected_answer",
    "cut_answer",
    "repeated_call",
    "contamination",
    "duplicate",
    "near_duplicate",
    "contradiction",
    "weight",
]
"""The findings, in the order in which a row is judged. The first one that is rejected is the row's reason."""

NOISE: tuple[Finding, ...] = (
    *("foreign_tool", "retried_call", "failed_call", "swapped_result", "corrected_answer", "cut_answer"),
    "repeated_call",
)
"""Findings that say of a record from production that its answer was not worth learning, or may not have been."""

ALWAYS_REJECTED: tuple[Finding, ...] = ("broken", "template", "duplicate", "weight")
"""Findings whose rows are always left out. The run file's `data.reject` decides about the others."""
