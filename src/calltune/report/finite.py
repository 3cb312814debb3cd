"""Numbers that are nan or infinite, which files of older versions can hold: shown in words, and null in a file."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from calltune.errors import not_finite_key

NOT_FINITE = "not finite"


def is_finite(value: Any) -> bool:
    """Whether a value is a number that can be drawn and compared."""
    return isinstance(value, int | float) and isfinite(value)


def for_file(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with null where a number is nan or infinite, which JSON does not have, and a sentence that says so."""
    if not (key := not_finite_key(report)):
        return dict(report)
    problem = f"numbers that are not finite are null in report.json and left out of plots; the first is '{key}'"
    return {**_nulled(report), "problems": [*report["problems"], problem]}


def _nulled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nulled(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_nulled(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
