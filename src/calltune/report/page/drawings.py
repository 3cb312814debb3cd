"""Which plots a report has: from what was found to `charts`, by the file name that each is kept under."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from calltune.report.page.charts import Bar, forest, ladder, lines, trade_off
from calltune.report.results import Measured

_CURVES = (("loss", "eval_loss"), ("rewards/accuracies", "eval_rewards/accuracies"), ("rewards/margins",))
_CURVE_NAMES = {
    "loss": "training loss",
    "eval_loss": "validation loss",
    "rewards/accuracies": "chosen preferred",
    "eval_rewards/accuracies": "on validation",
    "rewards/margins": "reward margin",
}
_NUM_TONES = 6


def tones(names: Sequence[str]) -> dict[str, str]:
    """The colour class of every checkpoint, the same in all plots."""
    return {name: f"c{number % _NUM_TONES}" for number, name in enumerate(names)}


def drawings(report: Mapping[str, Any], benchmarks: Sequence[Measured], checkpoints: Sequence[str]) -> dict[str, str]:
    """Every plot as SVG, by its name: `ladder-<benchmark>`, `change-...`, `calling-...`, `training-<stage>-...`."""
    tone = tones(checkpoints)
    found = {}
    for benchmark in benchmarks:
        title = benchmark.title
        found[f"ladder-{file_name(title)}"] = _ladder(report, benchmark, tone)
        if change := main_comparison(report["comparisons"], title, report["gate"]["checkpoint"]):
            found[f"change-{file_name(title)}"] = _forest(change)
    for title, points in report["operating_points"].items():
        found[f"calling-{file_name(title)}"] = _trade_off(title, points, tone)
    for stage, log in report["training"].items():
        for names in _CURVES:
            series = {
                _CURVE_NAMES[name]: [(row["step"], row[name]) for row in log if name in row and "step" in row]
                for name in names
            }
            series = {name: curve for name, curve in series.items() if curve}
            if series and max(map(len, series.values())) > 1:
                title, colours = f"{stage}: {', '.join(series)}", [tone.get(stage, "c1"), "c0"]
                told = {f"{stage}: {name}": curve for name, curve in series.items()}
                found[f"training-{stage}-{file_name(names[0])}"] = lines(title, told, "step", colours)
    return found


def main_comparison(comparisons: Sequence[Mapping[str, Any]], title: str, judged: str) -> Mapping[str, Any] | None:
    """The comparison to show first: of the judged checkpoint with the base, else the benchmark's last one."""
    of_benchmark = [comparison for comparison in comparisons if comparison["benchmark"] == title]
    main = [c for c in of_benchmark if (c["before"], c["after"]) == ("base", judged)]
    return (main or of_benchmark[-1:] or [None])[0]


def file_name(text: str) -> str:
    """The text with only what is safe in a file's name and an element's id."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def tone_of(low: float, high: float, *, less_is_better: bool = False) -> str:
    """`good`, `bad`, or `even` when the interval of a difference holds 0."""
    if low <= 0 <= high:
        return "even"
    return "good" if (low > 0) != less_is_better else "bad"


def _ladder(report: Mapping[str, Any], benchmark: Measured, tone: Mapping[str, str]) -> str:
    title = benchmark.title
    results = [result for result in report["results"] if result["benchmark"] == title]
    metric = results[0]["primary_metric"]
    bars = [
        Bar(
            result["checkpoint"],
            result["metrics"][metric],
            report["intervals"][title][result["checkpoint"]].get(metric),
            tone[result["checkpoint"]],
        )
        for result in results
        if result["metrics"].get(metric) is not None
    ]
    named = {benchmark.metric(name).baseline: value for name, value in results[0]["metrics"].items()}
    baselines = {name: value for name, value in named.items() if name and value is not None}
    return ladder(f"{title}: {metric} in %", bars, baselines)


def _forest(change: Mapping[str, Any]) -> str:
    bars = [
        Bar(
            group["name"] or "all questions",
            group["accuracy"]["difference"],
            group["accuracy"]["interval"],
            tone_of(*group["accuracy"]["interval"]),
        )
        for group in change["groups"]
    ]
    return forest(f"{change['benchmark']}: {change['before']} to {change['after']}, in points", bars)


def _trade_off(title: str, points: Mapping[str, Any], tone: Mapping[str, str]) -> str:
    curves = {
        name: [(point["needless_calls"], point["missed_calls"]) for point in found["curve"]]
        for name, found in points.items()
    }
    marks = {
        name: (_point(found["at_zero"]), _point(found["at_bias"]))
        for name, found in points.items()
        if None not in _point(found["at_zero"])
    }
    return trade_off(f"{title}: needless against missed calls", curves, marks, tone)


def _point(rates: Mapping[str, Any]) -> tuple[float, float]:
    return rates["needless_calls"], rates["missed_calls"]
