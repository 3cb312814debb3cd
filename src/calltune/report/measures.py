"""A benchmark's metrics as sums over rows, so that they can be resampled and compared row by row.

What a row contributes is asked of the benchmark itself: its `summarize` over that row alone. A metric whose value is
the mean of its rows' values is a `Ratio`; so is every accuracy, recall and rate. Which ones are macro-F1 or a mean over
categories, the benchmark's `METRICS` says. Each is checked against the benchmark's own figure, and left without an
interval when it is not the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from calltune.errors import RunFolderError
from calltune.evaluation.benchmarks import BenchmarkModule, Parts, Summary, stated
from calltune.files.written_by import who_wrote
from calltune.report.resampling import MeanOf, Measure, Ratio, value_of
from calltune.report.results import Answers
from calltune.types import Sample


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What one row gives by itself: its metrics, and by confusion table its target and prediction."""

    metrics: Mapping[str, float | None]
    pairs: Mapping[str, tuple[str, str]]


def facts_by_row(module: BenchmarkModule[Any], samples: Sequence[Sample], answers: Answers) -> list[RowFacts]:
    """What every row gives by itself.

    Raises:
        RunFolderError: a score is none of the benchmark's; another version of it may have written that.
    """
    facts = []
    for sample, completion, score in zip(samples, answers.completions, answers.scores, strict=True):
        try:
            facts.append(_facts(module.summarize([sample], [completion], [score])))
        except ValueError as error:
            result = answers.result
            wrote = who_wrote({"versions": result.versions})
            raise RunFolderError(
                f"{result.checkpoint} on {result.benchmark}: the score of question '{sample.id}' is none of this "
                f"benchmark's: {error}{wrote}; run evaluate again"
            ) from error
    return facts


def _facts(summary: Summary) -> RowFacts:
    pairs = {}
    for name, table in summary.confusion.items():
        for target, counts in zip(table["labels"], table["counts"], strict=False):
            for given, count in zip(table["labels"], counts, strict=True):
                if count:
                    pairs[name] = (target, given)
    return RowFacts(summary.metrics, pairs)


def measures(module: BenchmarkModule[Any], facts: Sequence[RowFacts]) -> dict[str, Measure]:
    """Every metric that can be written as sums over these rows, by its name."""
    named = {name: stated(module, name) for name in dict.fromkeys(name for row in facts for name in row.metrics)}
    found: dict[str, Measure] = {name: _mean(facts, name) for name, metric in named.items() if not metric.baseline}
    for name, metric in named.items():
        if metric.mean_of:
            found[name] = _mean_of(metric.mean_of, found)
        elif metric.f1_of:
            found[name] = _macro_f1(facts, metric.f1_of, metric.asked_only)
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


def _mean_of(parts: Parts, known: Mapping[str, Measure]) -> MeanOf:
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
