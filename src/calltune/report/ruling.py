"""What becomes of the gate's rules when a checkpoint has been measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from calltune.config.gate import Rule

_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": lambda value, bound: value >= bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    "<": lambda value, bound: value < bound,
}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of a rule; `value` and `interval` (95 %) are in the unit of its bound, None where there is none."""

    rule: str
    relative: bool
    passed: bool
    value: float | None
    interval: tuple[float, float] | None
    reason: str


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
