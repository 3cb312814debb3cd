"""The gate: rules such as `when2call.acc_norm >= +2` that a checkpoint must keep before it may be shipped.

A number with a sign is a difference to another checkpoint in points (hundredths); one without a sign is a share in
[0, 1], as metrics are. What cannot be decided has failed: silence is never a pass.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic

from calltune.config.stages import CheckpointName
from calltune.config.table import Table, unknown_key
from calltune.errors import ConfigError

_FORM = "'benchmark.metric >= number', such as 'when2call.acc_norm >= +2' or 'when2call.hallucination_rate <= 0.05'"

_RULE = re.compile(r"\s*(\S+)\.([^.\s<>=]+)\s*(>=|<=|>|<)\s*([+-]?)(\d+(?:\.\d*)?|\.\d+)\s*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the gate. `bound` is in points when it is `relative` to another checkpoint, else it is a share."""

    text: str
    benchmark: str
    metric: str
    comparison: str
    bound: float
    relative: bool


def parse_rule(text: str) -> Rule:
    """Return the rule that a text of the run file spells.

    Raises:
        ValueError: the text is not of that form, or a share is over 1.
    """
    match = _RULE.fullmatch(text)
    if match is None:
        raise ValueError(f"must be {_FORM}")
    benchmark, metric, comparison, sign, digits = match.groups()
    bound = float(sign + digits)
    if not sign and bound > 1:
        raise ValueError(
            f"{digits} without a sign is a share and must be at most 1; a difference in points has a sign: +{digits}"
        )
    return Rule(text.strip(), benchmark, metric, comparison, bound, bool(sign))


def require_metric(rule: Rule, known: Collection[str]) -> None:
    """Refuse a rule whose metric its benchmark does not give.

    Raises:
        ConfigError: there is no such metric; the line names the nearest one that there is.
    """
    if rule.metric not in known:
        problem = unknown_key(rule.metric, known).replace("unknown key", "unknown metric", 1)
        raise ConfigError(f"gate.rules: '{rule.text}': {problem}")


def _as_rule(text: str) -> str:
    parse_rule(text)
    return text


class GateConfig(Table):
    """`[gate]`: what must hold of a checkpoint. `report` and `run` exit with 3 when a rule is broken."""

    rules: tuple[Annotated[str, pydantic.AfterValidator(_as_rule)], ...] = ()
    """Rules such as `when2call.acc_norm >= +2`. A number with a sign is a difference in points, one without a sign is a
    share in [0, 1]."""

    checkpoint: CheckpointName | None = None
    """The checkpoint that is judged; by default the last one that was evaluated."""

    against: Annotated[str, pydantic.Field(min_length=1)] = "base"
    """The checkpoint that differences are taken to: one of this run, or `<run>:<checkpoint>` of a run that is
    compared."""

    decide_by: Literal["value", "interval"] = "value"
    """`value` asks that the figure itself keeps the rule, `interval` asks it of the whole 95 % interval."""

    @property
    def parsed(self) -> tuple[Rule, ...]:
        """The rules, parsed."""
        return tuple(map(parse_rule, self.rules))
