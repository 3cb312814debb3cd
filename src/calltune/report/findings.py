"""All that a report says, gathered once: `report.json` holds it, the page and the terminal show it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calltune.config.gate import Rule, require_metric
from calltune.config.run_file import Config
from calltune.config.stages import of_round
from calltune.files.json_lines import read_json
from calltune.files.manifest import MANIFEST, versions
from calltune.report.comparison import Comparison, compare, compare_all, label_changes, own_intervals, row_facts
from calltune.report.headline import headline
from calltune.report.measures import RowFacts
from calltune.report.operating_point import operating_points
from calltune.report.published import published_rows
from calltune.report.resampling import Interval
from calltune.report.results import Measured
from calltune.report.ruling import Ruling, decide
from calltune.types import Sample


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found on every benchmark, in Python's terms; `as_json` is the same for a file."""

    config: Config
    benchmarks: Sequence[Measured]
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]]
    comparisons: Sequence[Comparison]
    rulings: Sequence[Ruling]
    first: str
    judged: str
    operating_points: Mapping[str, Mapping[str, Any]]

    @property
    def passed(self) -> bool | None:
        """Whether every rule of the gate holds; None when the run file has none."""
        return all(ruling.passed for ruling in self.rulings) if self.rulings else None

    def as_json(self) -> dict[str, Any]:
        """The content of `report.json`."""
        config, folder = self.config, self.config.run_folder
        rounds = range(1, config.num_rounds + 1) if config.mine else ()
        mined, drawn = ([of_round(name, number) for number in rounds] for name in ("mined", "answers"))
        return {
            "name": config.name,
            "model": config.model,
            "headline": headline(self.comparisons, self.first, self.judged, self.benchmarks),
            "results": [
                {**answers.result, "checkpoint": name, "seconds": answers.seconds}
                for benchmark in self.benchmarks
                for name, answers in benchmark.answers.items()
            ],
            "problems": _problems(self.benchmarks),
            "intervals": self.intervals,
            "published": published_rows(config.model),
            "comparisons": [self._comparison(comparison) for comparison in self.comparisons],
            "gate": {
                "passed": self.passed,
                "checkpoint": self.judged,
                "against": config.gate.against,
                "decide_by": config.gate.decide_by,
                "rulings": [asdict(ruling) for ruling in self.rulings],
            },
            "operating_points": self.operating_points,
            "labels": {b.title: _labels(b) for b in self.benchmarks if b.samples is not None},
            "tools": {b.title: _tools(b) for b in self.benchmarks if b.samples is not None},
            "training": _training(folder, config.checkpoints[1:]),
            "doctor": _if_there(folder / "data" / "doctor.json"),
            "mining": _by_folder(folder, mined, "statistics.json"),
            "stages": _by_folder(folder, ("data", *drawn, *config.checkpoints[1:]), MANIFEST),
            "versions": versions(),
        }

    def _comparison(self, comparison: Comparison) -> dict[str, Any]:
        (benchmark,) = (b for b in self.benchmarks if b.title == comparison.benchmark)
        changes = label_changes(benchmark, comparison.before, comparison.after)
        return {**asdict(comparison), "label_changes": changes}


def find(config: Config, benchmarks: Sequence[Measured]) -> Findings:
    """Compare, judge and gather; at least one of the checkpoints is this run's own.

    Raises:
        ConfigError: `[gate]` names a metric or a checkpoint that was not measured.
    """
    facts = {benchmark.title: row_facts(benchmark) for benchmark in benchmarks}
    intervals = {b.title: own_intervals(b, facts[b.title]) for b in benchmarks}
    comparisons = [c for b in benchmarks for c in compare_all(b, facts[b.title])]
    evaluated = {name for benchmark in benchmarks for name in benchmark.answers}
    own = [name for name in config.checkpoints if name in evaluated]
    judged = config.gate.checkpoint or own[-1]
    by_title = {benchmark.title: benchmark for benchmark in benchmarks}
    rulings = [_ruling(config, rule, by_title, judged, intervals, facts) for rule in config.gate.parsed]
    points = {b.title: found for b in benchmarks if (found := operating_points(b))}
    return Findings(config, benchmarks, intervals, comparisons, rulings, own[0], judged, points)


def _ruling(
    config: Config,
    rule: Rule,
    benchmarks: Mapping[str, Measured],
    judged: str,
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    facts: Mapping[str, Mapping[str, Sequence[RowFacts]]],
) -> Ruling:
    by = config.gate.decide_by
    if rule.benchmark not in benchmarks or judged not in benchmarks[rule.benchmark].answers:
        return decide(rule, None, None, by, f"{judged} was not evaluated on {rule.benchmark}")
    benchmark, against = benchmarks[rule.benchmark], config.gate.against
    metrics = benchmark.answers[judged].result["metrics"]
    require_metric(rule, metrics)
    value = metrics[rule.metric]
    if not rule.relative or value is None:
        own = intervals[rule.benchmark][judged]
        return decide(rule, value, own.get(rule.metric), by, f"{judged} has no value for it" if value is None else "")
    if against == judged or against not in benchmark.answers:
        return decide(rule, None, None, by, f"there is no '{against}' to compare {judged} with on {rule.benchmark}")
    if benchmark.answers[against].result["data_sha256"] != benchmark.answers[judged].result["data_sha256"]:
        return decide(rule, None, None, by, f"{against} was asked other questions than {judged}")
    if {against, judged} <= set(facts[rule.benchmark]):
        pair = compare(benchmark, facts[rule.benchmark], against, judged).metrics
        if rule.metric in pair:
            return decide(rule, pair[rule.metric].difference, pair[rule.metric].interval, by)
    other = benchmark.answers[against].result["metrics"].get(rule.metric)
    missing = f"{against} has no value for it" if other is None else "the rows cannot be paired, so it has no interval"
    return decide(rule, None if other is None else value - other, None, by, missing)


def _problems(benchmarks: Sequence[Measured]) -> list[str]:
    """What the report cannot show, each in a sentence."""
    found = [f"{b.title}: no comparisons and no examples, as {b.problem}" for b in benchmarks if b.problem]
    found += [f"{b.title}: {name} is not compared, as it {why}" for b in benchmarks for name, why in b.unpaired.items()]
    for benchmark in benchmarks:
        prompts = {name: answers.result["prompt"] for name, answers in benchmark.answers.items()}
        if len(set(prompts.values())) > 1:
            told = ", ".join(f"{name}: {prompt}" for name, prompt in prompts.items())
            found.append(f"{benchmark.title}: not everyone was asked with one prompt ({told})")
    return found


def _labels(benchmark: Measured) -> dict[str, dict[str, int]]:
    """By checkpoint how often each label was given."""
    return {name: dict(Counter(s.label for s in benchmark.answers[name].scores)) for name in benchmark.paired()}


def _tools(benchmark: Measured) -> list[dict[str, Any]]:
    """By offered tool how many questions offer it, and how many of them each checkpoint got right."""
    samples, names = benchmark.samples or (), benchmark.paired()
    rows: dict[str, dict[str, Any]] = {}
    for number, sample in enumerate(samples):
        for tool in _offered(sample):
            row = rows.setdefault(tool, {"tool": tool, "num_rows": 0, "num_correct": dict.fromkeys(names, 0)})
            row["num_rows"] += 1
            for name in names:
                row["num_correct"][name] += benchmark.answers[name].scores[number].value == 1
    return sorted(rows.values(), key=lambda row: (-row["num_rows"], row["tool"]))


def _offered(sample: Sample) -> list[str]:
    return list(dict.fromkeys(tool.name for tool in sample.tools)) or ["(no tool)"]


def _training(run_folder: Path, stages: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """By stage what the trainer logged."""
    return {stage: history["log"] for stage, history in _by_folder(run_folder, stages, "history.json").items()}


def _by_folder(run_folder: Path, folders: Sequence[str], name: str) -> dict[str, dict[str, Any]]:
    """A file of each of these folders that has it."""
    found = {folder: _if_there(run_folder / folder / name) for folder in folders}
    return {folder: value for folder, value in found.items() if value is not None}


def _if_there(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None
