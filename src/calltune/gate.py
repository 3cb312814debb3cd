"""The gate: rules such as `when2call.acc_norm >= +2` that a checkpoint must keep before it may be shipped.

A number with a sign is a difference to another checkpoint in points (hundredths); one without a sign is a share in
[0, 1], as metrics are. What cannot be decided has failed: silence is never a pass.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from calltune.errors import ConfigError
from calltune.options import unknown_key

_FORM = "'benchmark.metric >= number', such as 'when2call.acc_norm >= +2' or 'when2call.hallucination_rate <= 0.05'"
_RULE = re.compile(r"\s*(\S+)\.([^.\s<>=]+)\s*(>=|<=|>|<)\s*([+-]?)(\d+(?:\.\d*)?|\.\d+)\s*")
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": lambda value, bound: value >= bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    "<": lambda value, bound: value < bound,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `bound` is in points when it is `relative` to another checkpoint, else a share."""

    text: str
    benchmark: str
    metric: str
    comparison: str
    bound: float
    relative: bool


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of a rule; `value` and `interval` (95 %) are in the unit of its bound, None where there is none."""

    rule: str
    relative: bool
    passed: bool
    value: float | None
    interval: tuple[float, float] | None
    reason: str


def parse_rule(text: str) -> Rule:
    """A rule from the text of a run file.

    Raises:
        ValueError: it is not of that form, or a share is over 1.
    """
    found = _RULE.fullmatch(text)
    if found is None:
        raise ValueError(f"must be {_FORM}")
    benchmark, metric, comparison, sign, digits = found.groups()
    bound = float(sign + digits)
    if not sign and bound > 1:
        raise ValueError(
            f"{digits} without a sign is a share and must be at most 1; a difference in points has a sign: +{digits}"
        )
    return Rule(text.strip(), benchmark, metric, comparison, bound, bool(sign))


def require_metric(rule: Rule, known: Collection[str]) -> None:
    """Refuse a rule whose metric its benchmark does not give.

    Raises:
        ConfigError: in one line, with the nearest metric that there is.
    """
    if rule.metric not in known:
        problem = unknown_key(rule.metric, known).replace("unknown key", "unknown metric", 1)
        raise ConfigError(f"gate.rules: '{rule.text}': {problem}")


def decide(
    rule: Rule,
    value: float | None,
    interval: tuple[float, float] | None,
    by: Literal["value", "interval"],
    missing: str = "",
) -> Ruling:
    """Whether a rule holds.

    Args:
        value: the metric as a share, or its difference as a share.
        interval: its 95 % interval, as a share.
        by: `value` asks the figure itself; `interval` asks that the whole interval keeps the rule.
        missing: why there is no value or no interval.
    """
    holds, scale = _HOLDS[rule.comparison], 100 if rule.relative else 1
    # Rounded, as 0.47 - 0.45 is a hair under two points.
    shown = None if value is None else round(scale * value, 9)
    ends = None if interval is None else (round(scale * interval[0], 9), round(scale * interval[1], 9))
    if shown is None:
        return Ruling(rule.text, rule.relative, False, None, ends, missing or "it has no value")
    certain = ends is not None and all(holds(end, rule.bound) for end in ends)
    if by == "interval":
        if ends is None:
            return Ruling(rule.text, rule.relative, False, shown, None, missing or "it has no interval")
        reason = "" if certain else "the interval reaches where the rule is broken"
        return Ruling(rule.text, rule.relative, certain, shown, ends, reason)
    passed = holds(shown, rule.bound)
    reason = "" if certain or not passed or ends is None else "the interval also holds values that break it"
    return Ruling(rule.text, rule.relative, passed, shown, ends, reason)
