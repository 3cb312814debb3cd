"""The data doctor: what is wrong with training rows, before time is spent on them.

`prepare` runs it and acts, `check` runs it and only tells. Each row is looked at once, by itself, in worker processes
(`examine`), which gives its `Facts`; then the rows are judged beside each other (`judge`), which gives each row left
out its finding and reason; then all is told (`tell`). `docs/doctor.md` says what each finding means.
"""

from typing import Literal

Finding = Literal[
    "broken",
    "template",
    "null_padding",
    "invalid_call",
    "contamination",
    "duplicate",
    "near_duplicate",
    "contradiction",
    "weight",
]
"""In the order in which a row is judged: the first that is rejected is its reason."""

ALWAYS_REJECTED: tuple[Finding, ...] = ("broken", "template", "duplicate", "weight")
"""Findings that leave no choice; of the others the run file's `data.reject` decides."""
