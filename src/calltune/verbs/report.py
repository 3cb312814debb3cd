"""`calltune report`: every checkpoint side by side: on the terminal, in `report.json`, on the page `report.html`."""

from dataclasses import replace
from pathlib import Path

from calltune.config.run_file import Config
from calltune.errors import GateError, RunFolderError
from calltune.evaluation.jobs import open_benchmarks
from calltune.files.json_lines import write_json
from calltune.files.tracking import track_report
from calltune.report.findings import Findings, find
from calltune.report.finite import NOT_FINITE, for_file, is_finite
from calltune.report.headline import points
from calltune.report.page import write_page
from calltune.report.results import Measured, Result, checkpoints, read_results
from calltune.report.ruling import Ruling
from calltune.runtime.terminal import say, show_table


def run(config: Config) -> Path:
    """Gather what was measured, print the ladder, write `report.json`, `report.html` and `report/*.svg`.

    Returns:
        The path of `report.json`.

    Raises:
        RunFolderError: nothing was evaluated yet, or a file is damaged.
        ConfigError: `[gate]` or `[report]` names what is not there.
        GateError: a rule of the gate is broken; the report is written all the same.
    """
    benchmarks = read_results(open_benchmarks(config), checkpoints(config))
    if not any(name in config.checkpoints for benchmark in benchmarks for name in benchmark.answers):
        raise RunFolderError(f"{config.run_folder}: nothing was evaluated yet; run evaluate first")
    findings = find(config, benchmarks)
    report = for_file(findings.as_json())
    findings = replace(findings, problems=report["problems"])
    for benchmark in benchmarks:
        _show(benchmark)
    _show_changes(findings)
    _show_gate(findings)
    for problem in findings.problems:
        say(f"warning: {problem}")
    say("")
    say(findings.headline.text)
    path = config.run_folder / "report.json"
    write_json(path, report)
    page = write_page(findings, config.run_folder)
    track_report(config)
    say(f"written: {path}, {page}")
    if findings.passed is False:
        broken = [ruling.rule for ruling in findings.rulings if not ruling.passed]
        count = f"{len(broken)} of {len(findings.rulings)} rules"
        raise GateError(f"gate: {findings.judged} breaks {count}: {'; '.join(broken)}")
    return path


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
    value, interval = result.metrics.get(metric), result.intervals.get(metric)
    if value is None:
        return "-"
    if not is_finite(value):
        return NOT_FINITE
    return f"{value:.3f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")


def _bins(result: Result) -> str:
    return " / ".join(map(str, result.bins.values()))
