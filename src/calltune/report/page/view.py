"""What the page's template lays out: figures as a person reads them, tables as rows of cells."""

from collections.abc import Mapping, Sequence
from typing import Any

from calltune.report.comparison import Comparison
from calltune.report.findings import Findings
from calltune.report.finite import NOT_FINITE, is_finite
from calltune.report.page.drawings import file_name, main_comparison, tone_of
from calltune.report.page.tables import doctor_tables, mining_tables
from calltune.report.published import Published
from calltune.report.results import Measured, Result
from calltune.report.ruling import Ruling

_MOST_TOOLS, _MOST_CHANGES = 10, 8
_MINUS, _DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def view(findings: Findings, drawn: Mapping[str, str]) -> dict[str, Any]:
    """Everything the template names, from what was found and its plots by name."""
    return {
        "findings": findings,
        "benchmarks": [_benchmark(findings, benchmark, drawn) for benchmark in findings.benchmarks],
        "calling": [
            {"title": title, "chart": drawn[f"calling-{file_name(title)}"], "points": points}
            for title, points in findings.operating_points.items()
        ],
        "training": [chart for name, chart in drawn.items() if name.startswith("training-")],
        "evaluations": [
            (benchmark.title, name, answers.seconds, answers.result.num_samples)
            for benchmark in findings.benchmarks
            for name, answers in benchmark.answers.items()
            if answers.seconds is not None
        ],
        "doctor": doctor_tables(findings.doctor),
        "mining": mining_tables(findings.mining),
        "hashes": [
            (name, key, value)
            for name, stage in findings.stages.items()
            for key, value in _flat({**stage.inputs, **stage.sha256})
        ],
        "libraries": _libraries(findings),
    }


def share(value: float | None) -> str:
    """A share in percent."""
    if value is None:
        return _DASH
    return f"{100 * value:.1f}" if is_finite(value) else NOT_FINITE


def span(interval: Sequence[float] | None) -> str:
    """An interval of a share in percent."""
    return "" if interval is None else f"{100 * interval[0]:.1f}{_DASH}{100 * interval[1]:.1f}"


def signed(value: float) -> str:
    """A difference in points, with a true minus."""
    return f"{100 * value:+.1f}".replace("-", _MINUS)


def signed_span(interval: Sequence[float]) -> str:
    """An interval of a difference in points."""
    return f"{signed(interval[0])} to {signed(interval[1])}"


def found(ruling: Ruling) -> str:
    """What a rule of the gate found, in points where its bound has a sign, else in percent."""
    if ruling.value is None:
        return _DASH
    return f"{signed(ruling.value / 100)} points" if ruling.relative else f"{share(ruling.value)} %"


def found_span(ruling: Ruling) -> str:
    """The interval of what a rule found, in the same unit."""
    if ruling.interval is None:
        return ""
    if ruling.relative:
        return signed_span([end / 100 for end in ruling.interval])
    return span(ruling.interval)


def bias(value: float) -> str:
    """A bias, in thousandths of a nat."""
    return f"{value:+.3f}".replace("-", _MINUS) if value else "0"


def p_value(value: float) -> str:
    """A p-value, short."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: Any) -> str:
    """A number with its thousands apart; any other value as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _DASH if value is None else str(value)
    if not is_finite(value):
        return NOT_FINITE
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _benchmark(findings: Findings, benchmark: Measured, drawn: Mapping[str, str]) -> dict[str, Any]:
    title, first = benchmark.title, benchmark.first
    names = [name for name in dict.fromkeys([first.primary_metric, *first.metrics]) if name in first.metrics]
    rows = [_metric(findings, benchmark, name) for name in names]
    shown = [row for row in rows if row["meaning"] or row["name"] == first.primary_metric]
    main = main_comparison(findings, title)
    comparisons = [comparison for comparison in findings.comparisons if comparison.benchmark == title]
    ordered = sorted(comparisons, key=lambda comparison: comparison is not main)
    tools = findings.tools.get(title, [])
    return {
        "title": title,
        "id": file_name(title),
        "prompt": first.prompt,
        "num_samples": first.num_samples,
        "data_sha256": first.data_sha256,
        "checkpoints": list(benchmark.answers),
        "paired": benchmark.paired(),
        "chart": drawn[f"ladder-{file_name(title)}"],
        "metrics": shown,
        "more_metrics": [row for row in rows if row not in shown],
        "bins": [(name, [a.result.bins[name] for a in benchmark.answers.values()]) for name in first.bins],
        "published": _published(findings.published, first),
        "change_chart": drawn.get(f"change-{file_name(title)}"),
        "comparisons": [_comparison(comparison, benchmark) for comparison in ordered],
        "confusions": _confusions(benchmark),
        "labels": _label_rows(findings.labels.get(title, {})),
        "tools": tools[:_MOST_TOOLS],
        "num_more_tools": max(0, len(tools) - _MOST_TOOLS),
    }


def _metric(findings: Findings, benchmark: Measured, name: str) -> dict[str, Any]:
    intervals, metric = findings.intervals[benchmark.title], benchmark.metric(name)
    cells = [
        (answers.result.metrics.get(name), intervals[checkpoint].get(name))
        for checkpoint, answers in benchmark.answers.items()
    ]
    meaning = f"{metric.meaning}; less is better" if metric.meaning and metric.less_is_better else metric.meaning
    return {"name": name, "meaning": meaning, "cells": cells}


def _published(rows: Published | None, result: Result) -> dict[str, Any] | None:
    """The published figures, beside the benchmark that has their metric."""
    if rows is None or rows.metric != result.primary_metric:
        return None
    return {
        "metric": rows.metric,
        "source": rows.source,
        "figures": rows.values,
        "other_questions": result.num_samples != rows.num_questions,
    }


def _comparison(comparison: Comparison, benchmark: Measured) -> dict[str, Any]:
    return {
        "before": comparison.before,
        "after": comparison.after,
        "num_rows": comparison.num_rows,
        "num_left_out": comparison.num_left_out,
        "metrics": [
            (name, found, tone_of(found, less_is_better=benchmark.metric(name).less_is_better))
            for name, found in comparison.metrics.items()
            if found.difference
        ],
        "groups": [(group, tone_of(group.accuracy)) for group in comparison.groups],
        "label_changes": comparison.label_changes[:_MOST_CHANGES],
    }


def _confusions(benchmark: Measured) -> list[dict[str, Any]]:
    """By table a matrix per checkpoint; labels that occur nowhere are left out, the per-character tables come first."""
    found = []
    for name in sorted(benchmark.first.confusion, key=lambda name: not name.endswith("_norm")):
        first = benchmark.first.confusion[name]
        every = [(checkpoint, answers.result.confusion.get(name)) for checkpoint, answers in benchmark.answers.items()]
        tables = {checkpoint: table for checkpoint, table in every if table and table["labels"] == first["labels"]}
        if len(tables) < len(every):
            # Another version has other tables.
            continue
        labels, rows = first["labels"], range(len(first["counts"]))
        given = [n for n in range(len(labels)) if any(row[n] for table in tables.values() for row in table["counts"])]
        asked = [n for n in rows if any(any(table["counts"][n]) for table in tables.values())]
        found.append(
            {
                "name": name,
                "columns": [labels[n] for n in given],
                "matrices": [
                    {
                        "checkpoint": checkpoint,
                        "rows": [(labels[n], [_cell(table["counts"][n], m, n) for m in given]) for n in asked],
                    }
                    for checkpoint, table in tables.items()
                ],
            }
        )
    return found


def _cell(row: Sequence[int], column: int, right: int) -> dict[str, Any]:
    """A count, its share of the row in tenths as a shade, and whether it is what was asked."""
    part = row[column] / (sum(row) or 1)
    return {"count": row[column], "share": part, "shade": round(10 * part), "right": column == right}


def _label_rows(labels: Mapping[str, Mapping[str, int]]) -> list[tuple[str, list[int]]]:
    names = {name for counts in labels.values() for name in counts}
    rows = [(name, [counts.get(name, 0) for counts in labels.values()]) for name in names]
    return sorted(rows, key=lambda row: (-max(row[1]), row[0]))


def _flat(value: Any, before: str = "") -> Any:
    """The leaves of nested objects, each with its dotted path; lists of objects are told by their length."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{before}.{key}" if before else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        yield before, f"{len(value)} entries"
    elif isinstance(value, list):
        yield before, ", ".join(map(str, value))
    else:
        yield before, value


def _libraries(findings: Findings) -> list[tuple[str, list[str]]]:
    """Versions by library, where each was used."""
    used = {"report": findings.versions}
    used |= {name: stage.versions for name, stage in findings.stages.items()}
    for benchmark in findings.benchmarks:
        used |= {f"eval {name}": answers.result.versions for name, answers in benchmark.answers.items()}
    names = dict.fromkeys(name for versions in used.values() for name in versions)
    rows = []
    for name in names:
        by_version: dict[str, list[str]] = {}
        for place, versions in used.items():
            if name in versions:
                by_version.setdefault(versions[name], []).append(place)
        one = len(by_version) == 1
        rows.append((name, [v if one else f"{v} ({', '.join(where)})" for v, where in by_version.items()]))
    return rows
