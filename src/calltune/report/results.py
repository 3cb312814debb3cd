"""What `evaluate` left on the disk, read again: each benchmark's questions, and every checkpoint's answers to them.

A checkpoint of this run is called by its name (`base`, `sft`, `dpo`), one of another run `<run>:<checkpoint>`. Answers
are joined to the questions by sample id, so every comparison is between answers to one and the same question.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from calltune.config.entries import Entry
from calltune.config.run_file import Config
from calltune.config.stages import checkpoint_names
from calltune.errors import CalltuneError, ConfigError, DataError, RunFolderError
from calltune.evaluation.answers import MOST_ERRORS, completions_of, count, score_from
from calltune.evaluation.benchmarks import BenchmarkModule, ConfusionTable, Metric, check_stated, stated
from calltune.evaluation.jobs import questions_sha256
from calltune.files.json_lines import read_own_jsonl
from calltune.files.manifest import MANIFEST, broken, read_manifest
from calltune.files.state import ResultFile, RunConfig, read_state
from calltune.files.written_by import who_wrote
from calltune.report.resampling import Interval
from calltune.types import Completion, Sample, Score

_Row = TypeVar("_Row", Completion, Score)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint of one run; `name` is what the report calls it."""

    name: str
    run_folder: Path
    stage: str


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one checkpoint on one benchmark: a `result.json` as `evaluate` writes it.

    Each of `num_samples` is in one of the bins that the next five count. `metrics` are shares in [0, 1], None where
    there is nothing to measure; `intervals` are the benchmark's own 95 % intervals, of some of them.
    """

    benchmark: str
    checkpoint: str
    prompt: str
    num_samples: int
    num_correct: int
    num_wrong: int
    num_malformed: int
    num_truncated: int
    num_errors: int
    primary_metric: str
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval]
    confusion: Mapping[str, ConfusionTable]
    versions: Mapping[str, str]
    data_sha256: str

    @property
    def bins(self) -> dict[str, int]:
        """By what became of them how many samples there are."""
        return {
            "correct": self.num_correct,
            "wrong": self.num_wrong,
            "malformed": self.num_malformed,
            "truncated": self.num_truncated,
            "errors": self.num_errors,
        }


def read_result(place: Path) -> Result:
    """The `result.json` of a complete evaluation.

    Raises:
        RunFolderError: it is missing or of another shape, or the evaluation's files are not as they were sealed.
    """
    if problem := broken(place):
        raise RunFolderError(f"{place}: {problem}: it is not as it was sealed; run evaluate again")
    row = read_state(place / "result.json", ResultFile)
    return Result(**{field.name: row[field.name] for field in fields(Result)})


@dataclass(frozen=True, slots=True)
class Answers:
    """What one checkpoint gave for a benchmark, in the order of the samples."""

    result: Result
    seconds: float | None
    completions: Sequence[Completion]
    scores: Sequence[Score]
    num_not_finite: int = 0
    """Answers of an older version with log-likelihoods that are no numbers; they count as errors."""

    thoughts: Mapping[str, int] | None = None
    """How many answers hold a thought (`with_thought`), and in how many it is `endless`; None where the run file says
    nothing of thinking."""

    def more(self) -> dict[str, Any]:
        """What `report.json` holds of them beside their figures, where there is any."""
        more = {"num_not_finite": self.num_not_finite, "thoughts": self.thoughts}
        return {name: value for name, value in more.items() if value}


@dataclass(frozen=True, slots=True)
class Measured:
    """One benchmark with all that was answered, by checkpoint name.

    `samples` is None where the questions cannot be read any more, and `problem` says why: then there are results, but
    neither paired comparisons nor examples. `unpaired` names checkpoints that were asked other questions, with why.
    """

    title: str
    module: BenchmarkModule[Any]
    samples: Sequence[Sample] | None
    problem: str
    answers: Mapping[str, Answers]
    unpaired: Mapping[str, str]

    def metric(self, name: str) -> Metric:
        """What the benchmark says of one of its metrics."""
        return stated(self.module, name)

    @property
    def first(self) -> Result:
        """The result of the first checkpoint, which speaks for all in what they have in common."""
        return next(iter(self.answers.values())).result

    def paired(self) -> list[str]:
        """The checkpoints whose answers can be compared question by question."""
        return [name for name in self.answers if name not in self.unpaired] if self.samples is not None else []


def checkpoints(config: Config) -> list[Checkpoint]:
    """Every checkpoint of this run, then those of the runs that `[report] compare` names.

    The base of another run is left out when it is this run's model.

    Raises:
        ConfigError: a folder that is compared with is no run, is this run, or two have one name.
    """
    found = [Checkpoint(stage, config.run_folder, stage) for stage in config.checkpoints]
    names: set[str] = set()
    for folder in map(Path, config.report.compare):
        if not (folder / "config.json").exists():
            raise ConfigError(f"report.compare: {folder} is not the folder of a run (it holds no config.json)")
        if folder.resolve() == config.run_folder.resolve():
            raise ConfigError(f"report.compare: {folder} is this run itself")
        other = read_state(folder / "config.json", RunConfig)
        if other["name"] in names:
            raise ConfigError(f"report.compare: two runs are called '{other['name']}'")
        names.add(other["name"])
        # Older runs know of no rounds.
        theirs = checkpoint_names(other["stages"], other.get("mine", {}).get("rounds", 1))
        stages = theirs[1:] if other["model"] == config.model else theirs
        found += [Checkpoint(f"{other['name']}:{stage}", folder, stage) for stage in stages]
    return found


def read_results(
    benchmarks: Iterable[tuple[Entry, BenchmarkModule[Any], Any]], asked: Sequence[Checkpoint]
) -> list[Measured]:
    """Every benchmark that was evaluated to its end on some checkpoint.

    Raises:
        RunFolderError: a file is damaged, holds no answer to one of the questions, or a metric that its benchmark does
            not know.
    """
    found = []
    for entry, module, settings in benchmarks:
        places = {c.name: c.run_folder / "eval" / c.stage / entry.title for c in asked}
        places = {name: place for name, place in places.items() if (place / MANIFEST).exists()}
        if places:
            found.append(_measured(entry.title, module, settings, places))
    return found


def _measured(title: str, module: BenchmarkModule[Any], settings: Any, places: Mapping[str, Path]) -> Measured:
    results = {name: _result(place, module) for name, place in places.items()}
    samples, problem = _questions(module, settings)
    sha256 = questions_sha256(samples) if samples is not None else ""
    if samples is not None and all(result.data_sha256 != sha256 for result in results.values()):
        samples, problem = None, "the questions have changed since they were asked; run evaluate again"
    unpaired = {
        name: "was asked other questions"
        for name, result in results.items()
        if samples is not None and result.data_sha256 != sha256
    }
    answers = {}
    for name, place in places.items():
        seconds = read_manifest(place).get("seconds")
        if samples is None or name in unpaired:
            answers[name] = Answers(results[name], seconds, (), ())
        else:
            completions = _joined(place / "completions.jsonl", completions_of(samples), samples)
            scores = _joined(place / "scores.jsonl", score_from, samples)
            answers[name] = _finite(module, samples, Answers(results[name], seconds, completions, scores))
        thoughts = read_state(place / "result.json", ResultFile).get("thoughts")
        answers[name] = replace(answers[name], thoughts=thoughts)
    return Measured(title, module, samples, problem, answers, unpaired)


def _finite(module: BenchmarkModule[Any], samples: Sequence[Sample], answers: Answers) -> Answers:
    """Count an older version's answers with log-likelihoods that are not finite as errors; leave others as they are.

    Where they are more than may fail, the checkpoint has no figures.
    """
    bad = [
        number
        for number, (completion, score) in enumerate(zip(answers.completions, answers.scores, strict=True))
        if completion.status == "error" and score.value is not None
    ]
    if not bad:
        return answers
    scores = list(answers.scores)
    for number in bad:
        scores[number] = Score(samples[number].id, None, "error", answers.completions[number].reason)
    summary = module.summarize(samples, answers.completions, scores)
    metrics, intervals = summary.metrics, summary.intervals
    if len(bad) > MOST_ERRORS * len(samples):
        metrics = {name: value if stated(module, name).baseline else None for name, value in metrics.items()}
        intervals = {}
    counts = count(answers.completions, scores)
    result = replace(answers.result, **counts, metrics=metrics, intervals=intervals, confusion=summary.confusion)
    return Answers(result, answers.seconds, answers.completions, scores, len(bad))


def _result(place: Path, module: BenchmarkModule[Any]) -> Result:
    result = read_result(place)
    try:
        check_stated(module, result.metrics, result.primary_metric)
    except ConfigError as error:
        raise RunFolderError(f"{place / 'result.json'}: {error}; remove it and run evaluate again") from None
    return result


def _questions(module: BenchmarkModule[Any], settings: Any) -> tuple[list[Sample] | None, str]:
    """The questions, or why they cannot be had: what was measured stays true without them."""
    try:
        return list(module.samples(settings)), ""
    except CalltuneError as error:
        return None, str(error)


def _joined(file: Path, read: Callable[[Mapping[str, Any], str], _Row], samples: Sequence[Sample]) -> list[_Row]:
    """The rows of a file, in the order of the samples."""
    try:
        rows = {row.sample_id: row for row in (read(row, where) for where, row in read_own_jsonl(file))}
        missing = next((sample.id for sample in samples if sample.id not in rows), None)
        if missing is not None:
            raise RunFolderError(f"{file}: holds no row for question '{missing}'")
    except (DataError, RunFolderError) as error:
        wrote = who_wrote(read_manifest(file.parent))
        raise RunFolderError(f"{error}{wrote}; run evaluate again, which asks what is not whole") from None
    return [rows[sample.id] for sample in samples]
