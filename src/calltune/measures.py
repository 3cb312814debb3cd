"""A benchmark's metrics as sums over rows, so that they can be resampled and compared row by row.

What a row contributes is asked of the benchmark itself: its `summarize` over that row alone. A metric whose value is
the mean of its rows' values is a `Ratio`; so is every accuracy, recall and rate. Macro-F1 and means over categories are
written here. Each is checked against the benchmark's own figure, and left without an interval when it is not the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from types import ModuleType
from typing import Any

from calltune.benchmarks import Summary
from calltune.benchmarks.bfcl_rows import category_of
from calltune.resampling import MeanOf, Measure, Ratio, value_of
from calltune.results import Answers
from calltune.types import Sample

_SIMPLE = ("accuracy_simple_python", "accuracy_simple_java", "accuracy_simple_javascript")
_NON_LIVE = (_SIMPLE, "accuracy_multiple", "accuracy_parallel", "accuracy_parallel_multiple")
_IRRELEVANCE = ("accuracy_irrelevance", "accuracy_live_irrelevance")
_MEANS: Mapping[str, Mapping[str, Any]] = {
    "calltune.benchmarks.bfcl": {
        "non_live_ast": _NON_LIVE,
        "irrelevance_mean": _IRRELEVANCE,
        "overall_ast": (_NON_LIVE, "live_ast"),
        "overall_single_turn": (_NON_LIVE, "live_ast", _IRRELEVANCE),
    },
    "calltune.benchmarks.when2call_judge": {
        "macro_accuracy": tuple(
            f"accuracy_{name}" for name in ("direct", "tool_call", "request_for_info", "cannot_answer")
        )
    },
}
"""Means of other metrics, a tuple in a tuple being a mean of its own."""

_F1: Mapping[str, str] = {
    "macro_f1": "by_likelihood",
    "macro_f1_asked": "by_likelihood",
    "macro_f1_norm": "by_likelihood_norm",
    "macro_f1_asked_norm": "by_likelihood_norm",
}
"""Which confusion table a macro-F1 is of; another benchmark's `macro_f1` is of its only one."""

_BASELINES = "baseline_"


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What one row gives by itself: its metrics, and by confusion table its target and prediction."""

    metrics: Mapping[str, float | None]
    pairs: Mapping[str, tuple[str, str]]


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better: of all that are called a rate, but for that of exact calls."""
    return metric.startswith("hallucination_rate") or (metric.endswith("_rate") and metric != "exact_call_rate")


def group_of(sample: Sample) -> tuple[str, str]:
    """What a question is counted under: its BFCL category, or the behaviour that is right; (kind, name)."""
    if isinstance(sample.target, Mapping):
        if "behavior" in sample.target:
            return "class", str(sample.target["behavior"])
        if sample.benchmark == "bfcl":
            return "category", category_of(sample.id)
    return ("class", sample.target) if isinstance(sample.target, str) else ("", "")


def facts_by_row(module: ModuleType, samples: Sequence[Sample], answers: Answers) -> list[RowFacts]:
    """What every row gives by itself."""
    return [
        _facts(module.summarize([sample], [completion], [score]))
        for sample, completion, score in zip(samples, answers.completions, answers.scores, strict=True)
    ]


def _facts(summary: Summary) -> RowFacts:
    pairs = {}
    for name, table in summary.confusion.items():
        for target, counts in zip(table["labels"], table["counts"], strict=False):
            for given, count in zip(table["labels"], counts, strict=True):
                if count:
                    pairs[name] = (target, given)
    return RowFacts(summary.metrics, pairs)


def measures(module: ModuleType, facts: Sequence[RowFacts]) -> dict[str, Measure]:
    """Every metric that can be written as sums over these rows, by its name."""
    names = dict.fromkeys(name for row in facts for name in row.metrics if not name.startswith(_BASELINES))
    found: dict[str, Measure] = {name: _mean(facts, name) for name in names}
    for name, parts in _MEANS.get(module.__name__, {}).items():
        found[name] = _mean_of(parts, found)
    for name in names:
        if name.startswith("macro_f1"):
            tables = {key for row in facts for key in row.pairs}
            table = _F1[name] if _F1.get(name) in tables else min(tables, default="")
            found[name] = _macro_f1(facts, table, asked_only="asked" in name or table == "by_judge")
    return found


def verified(found: Mapping[str, Measure], metrics: Mapping[str, float | None]) -> dict[str, Measure]:
    """Those measures whose value over all rows is the benchmark's own figure."""
    values = {name: value_of(measure) for name, measure in found.items() if name in metrics}
    return {
        name: found[name]
        for name, value in values.items()
        if value is not None and metrics[name] is not None and isclose(value, metrics[name] or 0.0, abs_tol=1e-9)
    }


def _mean(facts: Sequence[RowFacts], name: str) -> Ratio:
    values = [row.metrics.get(name) for row in facts]
    return Ratio([value or 0.0 for value in values], [float(value is not None) for value in values])


def _mean_of(parts: Any, known: Mapping[str, Measure]) -> MeanOf:
    return MeanOf(
        tuple(
            _mean_of(part, known) if isinstance(part, tuple) else known[part]
            for part in parts
            if isinstance(part, tuple) or part in known
        )
    )


def _macro_f1(facts: Sequence[RowFacts], table: str, asked_only: bool) -> MeanOf:
    pairs = [row.pairs.get(table, ("", "")) for row in facts]
    asked = {target for target, _ in pairs if target}
    classes = sorted(asked if asked_only else {name for pair in pairs for name in pair if name})
    return MeanOf(
        tuple(
            Ratio(
                [2.0 * (target == given == name) for target, given in pairs],
                [float(target == name) + float(given == name) for target, given in pairs],
            )
            for name in classes
        )
    )
