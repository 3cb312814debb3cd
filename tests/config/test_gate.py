from pathlib import Path

import pytest
from planted_run import run_file

from calltune.config.gate import Rule, parse_rule
from calltune.config.run_file import load_config
from calltune.errors import ConfigError
from calltune.report.ruling import decide


def test_a_sign_makes_a_difference_in_points() -> None:
    assert parse_rule("when2call.acc_norm >= +2") == Rule(
        "when2call.acc_norm >= +2", "when2call", "acc_norm", ">=", 2.0, True
    )
    assert parse_rule("bfcl.live_ast>=-1.5").bound == -1.5
    assert parse_rule("bfcl.live_ast>=-1.5").relative
    rule = parse_rule("  my.package.bench.rate < .05 ")
    assert (rule.benchmark, rule.metric, rule.bound, rule.relative) == ("my.package.bench", "rate", 0.05, False)


@pytest.mark.parametrize(
    "text", ["", "acc_norm >= +2", "b.m >= two", "b.m = 0.5", "b.m >> 0.5", "b.m >= +2 points", "b.m >= 1e-2", "b. > 1"]
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be 'benchmark\.metric >= number'"):
        parse_rule(text)


def test_a_share_over_one_was_meant_as_points() -> None:
    with pytest.raises(ValueError, match=r"50 without a sign is a share .* has a sign: \+50"):
        parse_rule("b.m >= 50")


@pytest.mark.parametrize(
    ("text", "value", "passes"),
    [
        ("b.m >= 0.5", 0.5, True),
        ("b.m > 0.5", 0.5, False),
        ("b.m <= 0.05", 0.051, False),
        ("b.m < 0.05", 0.049, True),
        # Exactly two points, which floats miss by a hair.
        ("b.m >= +2", 0.47 - 0.45, True),
        ("b.m >= -1", -0.0099, True),
        ("b.m >= -1", -0.0101, False),
    ],
)
def test_the_value_decides(text: str, value: float, passes: bool) -> None:
    assert decide(parse_rule(text), value, None, "value").passed == passes


def test_a_pass_that_is_not_certain_says_so() -> None:
    ruling = decide(parse_rule("b.m >= +2"), 0.03, (0.01, 0.05), "value")
    assert ruling.passed
    assert ruling.reason == "the interval also holds values that break it"
    assert (ruling.value, ruling.interval) == (3.0, (1.0, 5.0))


def test_the_interval_decides_when_asked() -> None:
    rule = parse_rule("b.m >= -1")
    assert decide(rule, 0.0, (-0.005, 0.01), "interval").passed
    assert not decide(rule, 0.0, (-0.02, 0.01), "interval").passed
    without = decide(rule, 0.0, None, "interval", "the rows cannot be paired")
    assert (without.passed, without.reason) == (False, "the rows cannot be paired")


def test_what_cannot_be_decided_has_failed() -> None:
    ruling = decide(parse_rule("b.m <= 0.05"), None, None, "value", "dpo has no value for it")
    assert (ruling.passed, ruling.reason) == (False, "dpo has no value for it")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("when2call.acc_norm => 1", "'gate.rules.0': must be 'benchmark.metric >= number'"),
        (
            "when2cal.acc_norm >= +1",
            "'when2cal.acc_norm >= +1': unknown benchmark 'when2cal', did you mean 'when2call'?",
        ),
    ],
)
def test_a_wrong_rule_is_told_when_the_run_file_is_read(tmp_path: Path, rule: str, message: str) -> None:
    file = run_file(tmp_path / "toy")
    with pytest.raises(ConfigError) as told:
        load_config(file, [f'gate.rules=["{rule}"]'])
    assert message in str(told.value)
    assert rule in str(told.value)
    assert "\n" not in str(told.value)
