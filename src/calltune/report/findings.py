"""All that a report says, gathered once: `report.json` holds it, the page and the terminal show it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from calltune import __version__
from calltune.config.gate import Rule, require_metric
from calltune.config.run_file import Config
from calltune.config.stages import of_round
from calltune.files.guard_file import GUARD, GuardFile
from calltune.files.manifest import MANIFEST, versions
from calltune.files.state import Doctor, History, Manifest, Statistics
from calltune.files.written_by import is_newer
from calltune.report.beside import Beside, Stage, stage_of_manifest
from calltune.report.comparison import Comparison, compare, compare_all, own_intervals, row_facts
from calltune.report.decision import Measurements
from calltune.report.habits import Habits, habits
from calltune.report.headline import Headline, headline
from calltune.report.measures import RowFacts
from calltune.report.mistakes import CallMistakes, count_mistakes
from calltune.report.operating_point import OperatingPoint, operating_points
from calltune.report.published import Published, published_rows
from calltune.report.resampling import Interval
from calltune.report.results import Measured
from calltune.report.ruling import Ruling, decide
from calltune.report.verdict import Verdict, give_verdict
from calltune.types import Sample


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """How many questions offer a tool, and how many of them each checkpoint got right."""

    tool: str
    num_rows: int
    num_correct: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was found, in Python's terms, which the page reads; `as_json` is the same for a file.

    `intervals` are by benchmark, checkpoint and metric, and so is `denominators`: how many rows each metric is about.
    `habits`, `mistakes` and `operating_points` are by benchmark, then by checkpoint; `labels`, how often each was
    given, by benchmark, checkpoint and label; `tools` by benchmark. `training` holds what the trainer logged by stage,
    `doctor` and `mining` what `data/doctor.json` and each round's `statistics.json` hold.
    """

    config: Config
    benchmarks: Sequence[Measured]
    verdict: Verdict
    headline: Headline
    problems: Sequence[str]
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]]
    denominators: Mapping[str, Mapping[str, Mapping[str, int]]]
    habits: Mapping[str, Habits]
    mistakes: Mapping[str, Mapping[str, CallMistakes]]
    published: Published | None
    comparisons: Sequence[Comparison]
    rulings: Sequence[Ruling]
    judged: str
    operating_points: Mapping[str, Mapping[str, OperatingPoint]]
    labels: Mapping[str, Mapping[str, Mapping[str, int]]]
    tools: Mapping[str, Sequence[OfferedTool]]
    training: Mapping[str, Sequence[Mapping[str, Any]]]
    guard: Mapping[str, Sequence[Mapping[str, Any]]]
    doctor: Mapping[str, Any] | None
    mining: Mapping[str, Mapping[str, Any]]
    stages: Mapping[str, Stage]
    versions: Mapping[str, str]

    @property
    def passed(self) -> bool | None:
        """Whether every rule of the gate holds; None when the run file has none."""
        return all(ruling.passed for ruling in self.rulings) if self.rulings else None

    @property
    def checkpoints(self) -> list[str]:
        """Every checkpoint that was measured."""
        return list(dict.fromkeys(name for benchmark in self.benchmarks for name in benchmark.answers))

    def as_json(self) -> dict[str, Any]:
        """The content of `report.json`."""
        gate = self.config.gate
        return {
            "name": self.config.name,
            "model": self.config.model,
            "verdict": asdict(self.verdict),
            "headline": asdict(self.headline),
            "results": [
                {
                    **asdict(answers.result),
                    "checkpoint": name,
                    "seconds": answers.seconds,
                    **answers.more(),
                }
                for benchmark in self.benchmarks
                for name, answers in benchmark.answers.items()
            ],
            "problems": self.problems,
            "intervals": self.intervals,
            "denominators": self.denominators,
            "mistakes": {
                title: {name: asdict(found) for name, found in by_checkpoint.items()}
                for title, by_checkpoint in self.mistakes.items()
            },
            "published": self.published and asdict(self.published),
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "gate": {
                "passed": self.passed,
                "checkpoint": self.judged,
                "against": gate.against,
                "decide_by": gate.decide_by,
                "rulings": [asdict(ruling) for ruling in self.rulings],
            },
            "operating_points": {
                title: {name: asdict(point) for name, point in points.items()}
                for title, points in self.operating_points.items()
            },
            "labels": self.labels,
            "tools": {title: [asdict(tool) for tool in tools] for title, tools in self.tools.items()},
            "training": self.training,
            "guard": self.guard,
            "doctor": self.doctor,
            "mining": self.mining,
            "stages": {name: stage.manifest for name, stage in self.stages.items()},
            "versions": self.versions,
        }


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

    def rule_on(checkpoint: str) -> list[Ruling]:
        return [_ruling(config, rule, by_title, checkpoint, intervals, facts) for rule in config.gate.parsed]

    for rule in config.gate.parsed:
        if rule.benchmark in by_title and judged in by_title[rule.benchmark].answers:
            require_metric(rule, by_title[rule.benchmark].answers[judged].result.metrics)
    rulings = rule_on(judged)
    denominators = {title: _denominators(of_benchmark) for title, of_benchmark in facts.items()}
    of_habit = {benchmark.title: habits(benchmark) for benchmark in benchmarks}
    measurements = Measurements(benchmarks, comparisons, intervals, denominators)
    known = {judged: rulings}
    upto = own[: own.index(judged) + 1] if judged in own else [own[0], judged]
    verdict = give_verdict(
        measurements,
        lambda name: known[name] if name in known else rule_on(name),
        of_habit,
        upto,
        [rule.benchmark for rule in config.gate.parsed],
    )
    beside, trained = Beside(config.run_folder), config.checkpoints[1:]
    rounds = range(1, config.num_rounds + 1) if config.mine else ()
    mined, drawn = ([of_round(name, number) for number in rounds] for name in ("mined", "answers"))
    return Findings(
        config,
        benchmarks,
        verdict=verdict,
        headline=headline(comparisons, own[0], judged, benchmarks, verdict.better),
        intervals=intervals,
        denominators=denominators,
        habits=of_habit,
        mistakes={b.title: found for b in benchmarks if (found := count_mistakes(b))},
        published=published_rows(config.model),
        comparisons=comparisons,
        rulings=rulings,
        judged=judged,
        operating_points={b.title: points for b in benchmarks if (points := operating_points(b))},
        labels={b.title: _labels(b) for b in benchmarks if b.samples is not None},
        tools={b.title: _tools(b) for b in benchmarks if b.samples is not None},
        training={name: history["log"] for name, history in beside.read(trained, "history.json", History).items()},
        guard={
            name: [{"step": check["step"], **check["metrics"]} for check in found["checks"]]
            for name, found in beside.read(trained, GUARD, GuardFile).items()
        },
        doctor=beside.read(["data"], "doctor.json", Doctor).get("data"),
        mining=beside.read(mined, "statistics.json", Statistics),
        stages={
            name: stage_of_manifest(manifest)
            for name, manifest in beside.read(("data", *drawn, *trained), MANIFEST, Manifest).items()
        },
        versions=versions(),
        # Last of all, when every file was read.
        problems=[*_problems(benchmarks), *beside.problems],
    )


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
    metrics = benchmark.answers[judged].result.metrics
    value = metrics.get(rule.metric)
    if not rule.relative or value is None:
        own = intervals[rule.benchmark][judged]
        return decide(rule, value, own.get(rule.metric), by, f"{judged} has no value for it" if value is None else "")
    if against == judged or against not in benchmark.answers:
        return decide(rule, None, None, by, f"there is no '{against}' to compare {judged} with on {rule.benchmark}")
    if benchmark.answers[against].result.data_sha256 != benchmark.answers[judged].result.data_sha256:
        return decide(rule, None, None, by, f"{against} was asked other questions than {judged}")
    if {against, judged} <= set(facts[rule.benchmark]):
        pair = compare(benchmark, facts[rule.benchmark], against, judged).metrics
        if rule.metric in pair:
            return decide(rule, pair[rule.metric].difference, pair[rule.metric].interval, by)
    other = benchmark.answers[against].result.metrics.get(rule.metric)
    missing = f"{against} has no value for it" if other is None else "the rows cannot be paired, so it has no interval"
    return decide(rule, None if other is None else value - other, None, by, missing)


def _problems(benchmarks: Sequence[Measured]) -> list[str]:
    """What the report cannot show, each in a sentence."""
    found = [f"{b.title}: no comparisons and no examples, as {b.problem}" for b in benchmarks if b.problem]
    found += [f"{b.title}: {name} is not compared, as it {why}" for b in benchmarks for name, why in b.unpaired.items()]
    found += _newer(benchmarks)
    for benchmark in benchmarks:
        for name, answers in benchmark.answers.items():
            if answers.num_not_finite:
                found.append(
                    f"{benchmark.title}: {answers.num_not_finite} of {name}'s log-likelihoods are not finite and count "
                    "as errors; look at the model's weights"
                )
        prompts = {name: answers.result.prompt for name, answers in benchmark.answers.items()}
        if len(set(prompts.values())) > 1:
            told = ", ".join(f"{name}: {prompt}" for name, prompt in prompts.items())
            found.append(f"{benchmark.title}: not everyone was asked with one prompt ({told})")
    return found


def _newer(benchmarks: Sequence[Measured]) -> list[str]:
    """One sentence for each newer calltune that measured something."""
    measured: dict[str, list[str]] = {}
    for benchmark in benchmarks:
        for name, answers in benchmark.answers.items():
            measured.setdefault(answers.result.versions.get("calltune", ""), []).append(f"{name} on {benchmark.title}")
    return [
        f"{', '.join(what)} was measured by calltune {version}, newer than this {__version__}: what that added is not "
        "shown"
        for version, what in measured.items()
        if is_newer(version)
    ]


def _denominators(facts: Mapping[str, Sequence[RowFacts]]) -> dict[str, dict[str, int]]:
    """By checkpoint and metric how many rows the metric is about."""
    return {
        name: dict(Counter(metric for row in rows for metric, value in row.metrics.items() if value is not None))
        for name, rows in facts.items()
    }


def _labels(benchmark: Measured) -> dict[str, dict[str, int]]:
    """By checkpoint how often each label was given."""
    return {name: dict(Counter(s.label for s in benchmark.answers[name].scores)) for name in benchmark.paired()}


def _tools(benchmark: Measured) -> list[OfferedTool]:
    """Every offered tool, the most frequent first."""
    names, rows = benchmark.paired(), dict[str, list[int]]()
    for number, sample in enumerate(benchmark.samples or ()):
        for tool in _offered(sample):
            rows.setdefault(tool, []).append(number)
    tools = [
        OfferedTool(
            tool,
            len(numbers),
            {name: sum(benchmark.answers[name].scores[number].value == 1 for number in numbers) for name in names},
        )
        for tool, numbers in rows.items()
    ]
    return sorted(tools, key=lambda tool: (-tool.num_rows, tool.tool))


def _offered(sample: Sample) -> list[str]:
    return list(dict.fromkeys(tool.name for tool in sample.tools)) or ["(no tool)"]
