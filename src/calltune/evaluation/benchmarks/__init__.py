"""What a checkpoint is asked; `BenchmarkModule` is what each module of this family has."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, TypeVar

import pydantic

from calltune.config.entries import Family
from calltune.errors import ConfigError
from calltune.evaluation.statistics import confusion
from calltune.types import Completion, Sample, Score, ScoringRequest

Keys = TypeVar("Keys", bound=pydantic.BaseModel)
Parts = tuple["str | Parts", ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a benchmark says of one of its metrics, beside its value.

    A field that is left open says what is true of most: more of the metric is better, and it is a mean over rows.
    """

    meaning: str = ""
    """What it is, in a few words for the page; a metric without says it by its name, and the page folds it away."""

    less_is_better: bool = False

    skill: str = ""
    """What a model with more of it is better at, for the headline; the primary metric needs these words."""

    harm: str = ""
    """What a rise of it is called in the headline's list of what is worse; one without is not named there."""

    mean_of: Parts = ()
    """The benchmark's other metrics that it is the mean of; a tuple in the tuple is a mean of its own."""

    f1_of: str = ""
    """The confusion table that it is the macro-F1 of."""

    asked_only: bool = False
    """Whether that macro-F1 is over the classes that are asked; else also over those that are only given."""

    baseline: str = ""
    """What the plot calls it, where it is the figure of a rule without any model; the report resamples no such one."""

    tile: Literal["", "right decision", "exact calls", "broken calls"] = ""
    """Which of the three tiles at the top of a report may show it; a benchmark has one metric of each at most."""


BROKEN_ANSWERS: Mapping[str, Metric] = {
    "malformed_rate": Metric("broken calls", less_is_better=True, harm="more broken calls", tile="broken calls"),
    "truncated_rate": Metric("cut off before the end", less_is_better=True, harm="more answers cut off"),
}
"""The metrics of every benchmark whose questions are answered freely."""


class ConfusionTable(TypedDict):
    """Counts with a row per target and a column per prediction, both in the order of the labels."""

    labels: list[str]
    counts: list[list[int]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a benchmark found.

    `metrics` are shares in [0, 1]; `intervals` give 95 % intervals of some of them; `confusion` has one row per target
    and one column per prediction, both named in `labels` (targets may be fewer than labels).
    """

    primary_metric: str
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    confusion: Mapping[str, ConfusionTable] = field(default_factory=dict)


class BenchmarkModule(Protocol[Keys]):
    """A module that asks questions and scores the answers; `chat` is the model's `calltune.calling.chat.Chat`."""

    __name__: str

    @property
    def Settings(self) -> type[Keys]:
        """The model of its own keys in `[[evaluate.benchmarks]]`; free answers need a `max_new_tokens` among them."""
        ...

    @property
    def METRICS(self) -> Mapping[str, Metric]:
        """What is to be known of every metric that `summarize` may give."""
        ...

    @property
    def scoring_request(self) -> Callable[[Sample, Keys, Any], ScoringRequest] | None:
        """A function of (sample, settings, chat) where answers are choices: the prompt, and a continuation for each.

        They are scored by log-likelihood, and every sample has `choices`. None where no sample has any: then answers
        are written freely, up to `settings.max_new_tokens`.
        """
        ...

    def metric_names(self, settings: Keys) -> Collection[str]:
        """The metrics that it gives with these settings; a rule of the gate about another is refused at once."""
        ...

    def prompt_name(self, settings: Keys, chat: Any) -> str:
        """Which prompt is used, as `result.json` names it; `chat` is None where a server writes the prompts."""
        ...

    def samples(self, settings: Keys) -> Iterator[Sample]:
        """Every question.

        Raises:
            DataError: there is none, or a row cannot be read as one.
        """
        ...

    def score_all(
        self, samples: Sequence[Sample], completions: Sequence[Completion], settings: Keys, folder: Path
    ) -> list[Score]:
        """The verdict on each completion, in their order; what is paid for is kept in the folder of the evaluation."""
        ...

    def summarize(
        self, samples: Sequence[Sample], completions: Sequence[Completion], scores: Sequence[Score]
    ) -> Summary:
        """The metrics over these rows, of which there may be one alone."""
        ...


BENCHMARKS: Family[BenchmarkModule[Any]] = Family(
    "benchmark",
    BenchmarkModule,
    {
        "bfcl": "calltune.evaluation.benchmarks.bfcl",
        "decide": "calltune.evaluation.benchmarks.decide",
        "when2call": "calltune.evaluation.benchmarks.when2call",
        "when2call_generation": "calltune.evaluation.benchmarks.when2call_generation",
        "when2call_judge": "calltune.evaluation.benchmarks.when2call_judge",
    },
)


def decides(module: BenchmarkModule[Any]) -> bool:
    """Whether a benchmark asks what a model would do, by how its answer begins: its module has `DECIDES = True`."""
    return bool(getattr(module, "DECIDES", False))


def is_free(module: BenchmarkModule[Any]) -> bool:
    """Whether answers are written freely."""
    return module.scoring_request is None and not decides(module)


def stated(module: BenchmarkModule[Any], name: str) -> Metric:
    """What a benchmark's module says of one of its metrics.

    Raises:
        ConfigError: it says nothing.
    """
    if name not in module.METRICS:
        raise ConfigError(f"{module.__name__}: METRICS says nothing of the metric '{name}'")
    return module.METRICS[name]


def check_stated(module: BenchmarkModule[Any], names: Iterable[str], primary: str | None = None) -> None:
    """See that a benchmark's module says what is to be known of these metrics, and what the primary one is good for.

    Raises:
        ConfigError: it does not.
    """
    for name in names:
        stated(module, name)
    if primary is not None and not stated(module, primary).skill:
        raise ConfigError(f"{module.__name__}: METRICS['{primary}'] needs a 'skill', as it is the primary metric")


def confusion_table(targets: Sequence[str], predictions: Sequence[str], labels: Sequence[str]) -> ConfusionTable:
    """A confusion matrix as `{"labels": [...], "counts": [[...]]}`: rows are targets, columns predictions."""
    return {"labels": list(labels), "counts": confusion(targets, predictions, labels)}


def own_template(settings: object, chat: object) -> str:
    """A module's `prompt_name` where every question goes through the model's own chat template."""
    return "chat_template"


class ScoreAll(Protocol):
    """A module's `score_all`."""

    def __call__(
        self, samples: Sequence[Sample], completions: Sequence[Completion], settings: Any, folder: Path
    ) -> list[Score]:
        """As `BenchmarkModule.score_all`."""
        ...


def one_by_one(score: Callable[[Sample, Completion], Score]) -> ScoreAll:
    """A module's `score_all` where each answer is judged by itself, as its `score` does."""

    def score_all(
        samples: Sequence[Sample], completions: Sequence[Completion], settings: object, folder: Path
    ) -> list[Score]:
        return [score(sample, completion) for sample, completion in zip(samples, completions, strict=True)]

    return score_all
