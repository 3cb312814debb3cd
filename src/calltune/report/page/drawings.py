"""Which plots a report has: from what was found to `charts`, by the file name that each is kept under."""

import re
from collections.abc import Mapping, Sequence

from calltune.report.comparison import Comparison, Difference
from calltune.report.findings import Findings
from calltune.report.finite import is_finite
from calltune.report.operating_point import OperatingPoint, Rates
from calltune.report.page.charts import Bar, forest, ladder, lines, trade_off
from calltune.report.resampling import Interval
from calltune.report.results import Measured

_CURVES = (
    ("loss", "eval_loss"),
    ("rewards/accuracies", "eval_rewards/accuracies"),
    ("rewards/margins",),
    ("reward", "eval_reward"),
    ("unreadable", "eval_unreadable"),
)
_CURVE_NAMES = {
    "loss": "training loss",
    "eval_loss": "validation loss",
    "rewards/accuracies": "chosen preferred",
    "eval_rewards/accuracies": "on validation",
    "rewards/margins": "reward margin",
    "reward": "mean reward",
    "eval_reward": "reward on validation",
    "unreadable": "unreadable answers",
    "eval_unreadable": "unreadable on validation",
}
_GUARDED = (
    {"behavior_accuracy": "right behaviour", "exact_call_rate": "exact calls", "malformed_rate": "malformed"},
    {"recall_tool_call": "due calls made", "needless_call_rate": "needless calls", "endless_rate": "endless"},
)
"""What the guard's curves show, and its words for it: at most three fit beside one another."""
_NUM_TONES = 6
_TONES = {"better": "good", "worse": "bad", "uncertain": "even"}


def tones(names: Sequence[str]) -> dict[str, str]:
    """The colour class of every checkpoint, the same in all plots."""
    return {name: f"c{number % _NUM_TONES}" for number, name in enumerate(names)}


def drawings(findings: Findings) -> dict[str, str]:
    """Every plot as SVG, by its name: `ladder-<benchmark>`, `change-...`, `calling-...`, `training-<stage>-...`."""
    tone = tones(findings.checkpoints)
    found = {}
    for benchmark in findings.benchmarks:
        name = file_name(benchmark.title)
        found[f"ladder-{name}"] = _ladder(benchmark, findings.intervals[benchmark.title], tone)
        if change := main_comparison(findings, benchmark.title):
            found[f"change-{name}"] = _forest(change)
    for title, points in findings.operating_points.items():
        found[f"calling-{file_name(title)}"] = _trade_off(title, points, tone)
    for stage, log in findings.training.items():
        for names in _CURVES:
            series = {
                _CURVE_NAMES[name]: [(row["step"], row[name]) for row in log if name in row and "step" in row]
                for name in names
            }
            whole = {name: [point for point in curve if is_finite(point[1])] for name, curve in series.items()}
            num_left_out = sum(len(series[name]) - len(whole[name]) for name in series)
            series = {name: curve for name, curve in whole.items() if curve}
            if series and max(map(len, series.values())) > 1:
                title, colours = f"{stage}: {', '.join(series)}", [tone.get(stage, "c1"), "c0"]
                told = {f"{stage}: {name}": curve for name, curve in series.items()}
                found[f"training-{stage}-{file_name(names[0])}"] = lines(title, told, "step", colours, num_left_out)
        found |= _guarded(stage, findings.guard.get(stage, ()), tone)
    return found


def _guarded(stage: str, checks: Sequence[Mapping[str, float]], tone: Mapping[str, str]) -> dict[str, str]:
    """The guard's numbers over the steps of a stage; nothing of a single check."""
    found = {}
    for names in _GUARDED:
        curves = {words: [(c["step"], c[name]) for c in checks if name in c] for name, words in names.items()}
        curves = {words: curve for words, curve in curves.items() if len(curve) > 1}
        if curves:
            # The first name says whose curves they are, as nothing else beside them does.
            curves = {words if number else f"{stage}: {words}": c for number, (words, c) in enumerate(curves.items())}
            title = f"{stage}, asked while it was trained: {', '.join(curves)}"
            colours = [tone.get(stage, "c1"), "c0", "c5"]
            found[f"training-{stage}-guard-{file_name(next(iter(names)))}"] = lines(title, curves, "step", colours)
    return found


def main_comparison(findings: Findings, title: str) -> Comparison | None:
    """The comparison to show first: of the judged checkpoint with the base, else the benchmark's last one."""
    of_benchmark = [comparison for comparison in findings.comparisons if comparison.benchmark == title]
    main = [c for c in of_benchmark if (c.before, c.after) == ("base", findings.judged)]
    return (main or of_benchmark[-1:] or [None])[0]


def file_name(text: str) -> str:
    """The text with only what is safe in a file's name and an element's id."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def tone_of(found: Difference, *, less_is_better: bool = False) -> str:
    """The colour class of a difference: `good`, `bad`, or `even` when its interval holds 0."""
    return _TONES[found.direction(less_is_better=less_is_better)]


def _ladder(benchmark: Measured, intervals: Mapping[str, Mapping[str, Interval]], tone: Mapping[str, str]) -> str:
    first = benchmark.first
    values = {name: answers.result.metrics.get(first.primary_metric) for name, answers in benchmark.answers.items()}
    bars = [
        Bar(name, value, intervals[name].get(first.primary_metric), tone[name])
        for name, value in values.items()
        if value is not None and is_finite(value)
    ]
    named = {benchmark.metric(name).baseline: value for name, value in first.metrics.items()}
    baselines = {name: value for name, value in named.items() if name and value is not None and is_finite(value)}
    return ladder(f"{benchmark.title}: {first.primary_metric} in %", bars, baselines)


def _forest(change: Comparison) -> str:
    bars = [
        Bar(
            group.name or "all questions",
            group.accuracy.difference,
            group.accuracy.interval,
            tone_of(group.accuracy),
        )
        for group in change.groups
    ]
    return forest(f"{change.benchmark}: {change.before} to {change.after}, in points", bars)


def _trade_off(title: str, points: Mapping[str, OperatingPoint], tone: Mapping[str, str]) -> str:
    curves = {
        name: [(place.needless_calls, place.missed_calls) for place in point.curve] for name, point in points.items()
    }
    marks = {}
    for name, point in points.items():
        at_zero, at_bias = _place(point.at_zero), _place(point.at_bias)
        if at_zero and at_bias:
            marks[name] = (at_zero, at_bias)
    return trade_off(f"{title}: needless against missed calls", curves, marks, tone)


def _place(rates: Rates) -> tuple[float, float] | None:
    if rates.needless_calls is None or rates.missed_calls is None:
        return None
    return rates.needless_calls, rates.missed_calls
