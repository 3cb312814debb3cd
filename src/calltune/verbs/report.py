"""`calltune report`: every checkpoint side by side: on the terminal, in `report.json`, on the page `report.html`."""

import time
from dataclasses import replace
from pathlib import Path

from calltune.config.run_file import Config
from calltune.errors import GateError, RunFolderError
from calltune.evaluation.jobs import asked_benchmarks
from calltune.files.json_lines import write_json
from calltune.files.tracking import track_report
from calltune.report.findings import find
from calltune.report.finite import for_file
from calltune.report.in_mlflow import headline_figures, verdict_tags
from calltune.report.page import write_page
from calltune.report.results import checkpoints, read_results
from calltune.report.told import next_command, tell_all, tell_shortly
from calltune.runtime.terminal import say
from calltune.runtime.told import tell_program


def run(config: Config, full: bool = False, begun: float | None = None) -> Path:
    """Gather what was measured, tell it shortly, write `report.json`, `report.html` and `report/*.svg`.

    Args:
        full: whether every metric, comparison and rule is told too.
        begun: by `time.monotonic()` when the command began, where that did more than report.

    Returns:
        The path of `report.json`.

    Raises:
        RunFolderError: nothing was evaluated yet, or a file is damaged.
        ConfigError: `[gate]` or `[report]` names what is not there.
        GateError: a rule of the gate is broken; the report is written all the same.
    """
    command, begun = ("report", time.monotonic()) if begun is None else ("run", begun)
    benchmarks = read_results(asked_benchmarks(config), checkpoints(config))
    if not any(name in config.checkpoints for benchmark in benchmarks for name in benchmark.answers):
        raise RunFolderError(f"{config.run_folder}: nothing was evaluated yet; run evaluate first")
    findings = find(config, benchmarks)
    report = for_file(findings.as_json())
    findings = replace(findings, problems=report["problems"])
    path = config.run_folder / "report.json"
    write_json(path, report)
    page = write_page(findings, config.run_folder)
    track_report(config, headline_figures(findings), verdict_tags(findings))
    top = ("name", "model", "verdict", "headline", "gate", "results", "problems")
    tell_program(report=str(path), page=str(page), **{key: report[key] for key in top})
    tell_shortly(findings)
    if full:
        tell_all(findings)
    for problem in findings.problems:
        say(f"warning: {problem}")
    say("")
    say(f"{command}: {_elapsed(time.monotonic() - begun)}" + ("" if full else "; --full tells every figure"))
    say(f"page: {page}")
    if command == "report" or config.export is None:
        say(f"next: {next_command(findings, full)}")
        tell_program(next=next_command(findings, full))
    if findings.passed is False:
        broken = [ruling.rule for ruling in findings.rulings if not ruling.passed]
        count = f"{len(broken)} of {len(findings.rulings)} rules"
        raise GateError(f"gate: {findings.judged} breaks {count}: {'; '.join(broken)}")
    return path


def _elapsed(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
