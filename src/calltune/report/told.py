"""What the terminal shows of a report: first a verdict, a sentence and a row per benchmark, then all the tables."""

import json
import shlex

from calltune.report.findings import Findings
from calltune.report.finite import NOT_FINITE, is_finite
from calltune.report.headline import points
from calltune.report.modes import Modes, modes_of
from calltune.report.resampling import Interval
from calltune.report.results import Measured, Result
from calltune.report.ruling import Ruling
from calltune.runtime.terminal import say, show_table


def tell_shortly(findings: Findings) -> None:
    """The verdict, one sentence, one row per benchmark, and what has to be known to read them."""
    verdict = findings.verdict
    say(f"{verdict.title}: {verdict.reason}")
    say(verdict.sentence)
    say("")
    before, after = verdict.before, verdict.after
    names = tuple(dict.fromkeys((before, *filter(None, [verdict.better]), after)))
    show_table(
        "each benchmark's own figure, with paired 95 % intervals of the change"
        + (f" from {before} to {after}" if verdict.better else ""),
        ("", "questions", *names, *(("change",) if len(names) > 1 else ())),
        [_row(findings, benchmark, names) for benchmark in findings.benchmarks],
    )
    for note in (*verdict.notes, *(f"{name}: {stage.kept}" for name, stage in findings.stages.items() if stage.kept)):
        say(f"note: {note}")


def tell_all(findings: Findings) -> None:
    """Every metric of every checkpoint, every comparison, the gate, and the figures in one sentence."""
    for benchmark in findings.benchmarks:
        _show(benchmark)
    for modes in modes_of(findings.benchmarks):
        _show_modes(modes)
    _show_changes(findings)
    _show_gate(findings)
    say("")
    say(findings.headline.text)


def next_command(findings: Findings, full: bool) -> str:
    """What to type next, by the verdict and by whether all was told already."""
    config, verdict = findings.config, findings.verdict
    words = config.words or str(config.run_folder / "config.json")
    if verdict.better:
        return f"calltune export {words} export.checkpoint={verdict.better}"
    if verdict.word == "Ship":
        return f"calltune export {words}"
    if verdict.word == "Do not ship":
        mend = f"calltune run {words}, once the data or the run file meets the mistakes that the page shows"
        return mend if full else f"calltune report {words} --full"
    if verdict.word == "Too few questions":
        return f"calltune evaluate {words}, once the benchmarks hold more questions"
    if verdict.before == verdict.after != "base":
        both = json.dumps(["base", verdict.after], allow_nan=False)
        compared = shlex.quote(f"evaluate.checkpoints={both}")
        return f"calltune evaluate {words} {compared}, for something to compare it with"
    return f"calltune run {words}"


def _row(findings: Findings, benchmark: Measured, names: tuple[str, ...]) -> tuple[str, ...]:
    results = [benchmark.answers[name].result if name in benchmark.answers else None for name in names]
    primary = next((result for result in reversed(results) if result), benchmark.first).primary_metric
    figures = ["-" if result is None else _share(result, primary) for result in results]
    power = next((each for each in findings.verdict.power if each.benchmark == benchmark.title), None)
    num_rows = power.num_rows if power else benchmark.first.num_samples
    change = []
    if len(names) > 1:
        sides = benchmark.title, names[0], names[-1]
        pair = [c for c in findings.comparisons if (c.benchmark, c.before, c.after) == sides]
        change = [points(c.metrics[primary]) if primary in c.metrics else "-" for c in pair] or ["-"]
    return (f"{benchmark.title} {primary}", f"{num_rows:,}", *figures, *change)


def _share(result: Result, metric: str) -> str:
    value = result.metrics.get(metric)
    return "-" if value is None else f"{value:.3f}" if is_finite(value) else NOT_FINITE


def _show(benchmark: Measured) -> None:
    results = {name: answers.result for name, answers in benchmark.answers.items()}
    first = benchmark.first
    metrics = [name for name in first.metrics if not name.startswith("recall_") or name.endswith("_norm")]
    if first.primary_metric in metrics:
        metrics.remove(first.primary_metric)
        metrics.insert(0, first.primary_metric)
    say("")
    show_table(
        f"{benchmark.title} ({first.prompt} prompt, {first.num_samples:,} questions, 95 % intervals)",
        ("", *results),
        [
            *((name, *(_figure(result, name) for result in results.values())) for name in metrics),
            (" / ".join(first.bins), *map(_bins, results.values())),
        ],
    )


def _show_modes(modes: Modes) -> None:
    say("")
    show_table(
        f"{modes.title} by mode of thinking",
        ("", *modes.columns),
        [
            *((name, *(_value(*cell) for cell in cells)) for name, cells in modes.metrics),
            *((words, *map(str, counts)) for words, counts in modes.counts),
        ],
    )


def _show_changes(findings: Findings) -> None:
    """The primary metric of every pair of checkpoints."""
    rows = []
    for comparison in findings.comparisons:
        (benchmark,) = (b for b in findings.benchmarks if b.title == comparison.benchmark)
        primary = benchmark.answers[comparison.after].result.primary_metric
        if primary in comparison.metrics:
            whole = comparison.groups[0]
            pair = f"{comparison.benchmark} {primary}: {comparison.before} → {comparison.after}"
            figures = points(comparison.metrics[primary]), f"{whole.wins} / {whole.losses}", f"{whole.p_value:.2g}"
            rows.append((pair, *figures))
    if rows:
        say("")
        title = "changes on the same questions (paired 95 % intervals; wins / losses by McNemar's exact test)"
        show_table(title, ("", "change", "wins / losses", "p"), rows)


def _show_gate(findings: Findings) -> None:
    if not findings.rulings:
        return
    say("")
    against, by = findings.config.gate.against, findings.config.gate.decide_by
    show_table(
        f"gate: {findings.judged}, differences to {against}, decided by the {by}",
        ("", "", "found", "95 % interval", "note"),
        [
            (
                ruling.rule,
                "pass" if ruling.passed else "FAIL",
                "-" if ruling.value is None else _bound(ruling, ruling.value),
                "-" if ruling.interval is None else " to ".join(_bound(ruling, end) for end in ruling.interval),
                ruling.reason,
            )
            for ruling in findings.rulings
        ],
    )


def _bound(ruling: Ruling, value: float) -> str:
    return f"{value:+.1f}" if ruling.relative else f"{value:.3f}"


def _figure(result: Result, metric: str) -> str:
    return _value(result.metrics.get(metric), result.intervals.get(metric))


def _value(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    if not is_finite(value):
        return NOT_FINITE
    return f"{value:.3f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")


def _bins(result: Result) -> str:
    return " / ".join(map(str, result.bins.values()))
