"""What the page's template lays out: figures as a person reads them, tables as rows of cells."""

from collections.abc import Mapping, Sequence
from typing import Any

from calltune.report.comparison import Comparison
from calltune.report.findings import Findings
from calltune.report.finite import NOT_FINITE, is_finite
from calltune.report.habits import habit_of_class, habit_of_metric
from calltune.report.modes import modes_of
from calltune.report.page.drawings import file_name, main_comparison, tone_of
from calltune.report.page.errors import confusions, label_rows, mistake_rows, verdicts
from calltune.report.page.links import Counted, link, tool_link
from calltune.report.page.tables import doctor_tables, mining_tables
from calltune.report.page.top import top
from calltune.report.published import Published
from calltune.report.results import Measured, Result
from calltune.report.ruling import Ruling

_MOST_TOOLS, _MOST_CHANGES = 10, 8
_MINUS, _DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def view(findings: Findings, drawn: Mapping[str, str]) -> dict[str, Any]:
    """Everything the template names, from what was found and its plots by name."""
    return {
        "findings": findings,
        "top": top(findings),
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
        "modes": modes_of(findings.benchmarks),
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
    counted = Counted(benchmark)
    named = [name for name in dict.fromkeys([first.primary_metric, *first.metrics]) if name in first.metrics]
    names = [name for name in named if not benchmark.metric(name).baseline]
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
        "baselines": [
            (benchmark.metric(name).baseline, benchmark.metric(name).meaning, first.metrics[name])
            for name in named
            if name not in names
        ],
        "bins": verdicts(benchmark, counted),
        "mistakes": mistake_rows(title, findings.mistakes.get(title, {})),
        "published": _published(findings.published, first),
        "change_chart": drawn.get(f"change-{file_name(title)}"),
        "comparisons": [_comparison(findings, comparison, benchmark) for comparison in ordered],
        "confusions": confusions(benchmark, counted),
        "labels": label_rows(findings.labels.get(title, {})),
        "tools": [(tool, tool_link(title, tool.tool)) for tool in tools[:_MOST_TOOLS]],
        "num_more_tools": max(0, len(tools) - _MOST_TOOLS),
    }


def _metric(findings: Findings, benchmark: Measured, name: str) -> dict[str, Any]:
    """A row of the scores: `of` is the denominator where all checkpoints have one and the same, else a cell has its."""
    intervals, metric = findings.intervals[benchmark.title], benchmark.metric(name)
    denominators = findings.denominators.get(benchmark.title, {})
    of = {checkpoint: denominators.get(checkpoint, {}).get(name) for checkpoint in benchmark.answers}
    same = len(set(of.values())) == 1
    cells = [
        (answers.result.metrics.get(name), intervals[checkpoint].get(name), None if same else of[checkpoint])
        for checkpoint, answers in benchmark.answers.items()
    ]
    of_habits = findings.habits[benchmark.title].items()
    notes = [
        f"{checkpoint} gives this answer to {habit.count:,} of {habit.total:,} questions: a habit, no skill"
        for checkpoint, found in of_habits
        if (habit := habit_of_metric(name, found))
    ]
    meaning = f"{metric.meaning}; less is better" if metric.meaning and metric.less_is_better else metric.meaning
    return {
        "name": name,
        "meaning": meaning,
        "of": next(iter(of.values())) if same else None,
        "cells": cells,
        "notes": notes,
    }


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


def _comparison(findings: Findings, comparison: Comparison, benchmark: Measured) -> dict[str, Any]:
    before, after, title = comparison.before, comparison.after, benchmark.title
    of_habits = findings.habits[title].get(before, {})

    def changed(kind: str, group: str) -> str:
        return link(benchmark=title, **({"right": group} if group else {}), change=f"{before}>{after}>{kind}")

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
        "groups": [
            {
                "group": group,
                "tone": tone_of(group.accuracy),
                "habit": habit_of_class(group.name, of_habits),
                "wins": changed("win", group.name) if group.wins else None,
                "losses": changed("loss", group.name) if group.losses else None,
            }
            for group in comparison.groups
        ],
        "label_changes": [
            (change, link(benchmark=title, change=f"{before}>{after}>{change.before}>{change.after}"))
            for change in comparison.label_changes[:_MOST_CHANGES]
        ],
    }


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
