"""What a checkpoint is asked.

Each module of this family has:

- `Settings`, a pydantic model of its own keys in `[[evaluate.benchmarks]]`;
- `METRICS: Mapping[str, Metric]`, what is to be known of every metric that `summarize` may give;
- `metric_names(settings) -> Collection[str]`, those of them that it gives with these settings, so that a rule of the
  gate about another is refused before anything is trained; a module without it has its rules read by the report alone;
- `prompt_name(settings, chat) -> str`, which prompt is used, as `result.json` names it;
- `samples(settings) -> Iterator[Sample]`, which parses every row into nouns or raises `DataError`;
- `score(sample, completion) -> Score`, or, where others must be asked for it,
  `score_all(samples, completions, settings, folder) -> list[Score]`, which keeps what it learns in `folder`;
- `summarize(samples, completions, scores) -> Summary`.

Samples with `choices` are scored by log-likelihood of what `scoring_request(sample, settings, chat) -> ScoringRequest`
writes, one continuation per choice; the others are answered freely, up to `settings.max_new_tokens`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from calltune.errors import ConfigError
from calltune.evaluation.statistics import confusion

BENCHMARKS = {
    "bfcl": "calltune.evaluation.benchmarks.bfcl",
    "when2call": "calltune.evaluation.benchmarks.when2call",
    "when2call_generation": "calltune.evaluation.benchmarks.when2call_generation",
    "when2call_judge": "calltune.evaluation.benchmarks.when2call_judge",
}


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


BROKEN_ANSWERS: Mapping[str, Metric] = {
    "malformed_rate": Metric("broken calls", less_is_better=True, harm="more broken calls"),
    "truncated_rate": Metric("cut off before the end", less_is_better=True, harm="more answers cut off"),
}
"""The metrics of every benchmark whose questions are answered freely."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a benchmark found.

    `metrics` are shares in [0, 1]; `intervals` give 95 % intervals of some of them; `confusion` has one row per target
    and one column per prediction, both named in `labels` (targets may be fewer than labels).
    """

    primary_metric: str
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    confusion: Mapping[str, Any] = field(default_factory=dict)


def stated(module: ModuleType, name: str) -> Metric:
    """What a benchmark's module says of one of its metrics.

    Raises:
        ConfigError: it says nothing.
    """
    if name not in module.METRICS:
        raise ConfigError(f"{module.__name__}: METRICS says nothing of the metric '{name}'")
    return module.METRICS[name]


def check_stated(module: ModuleType, names: Iterable[str], primary: str | None = None) -> None:
    """See that a benchmark's module says what is to be known of these metrics, and what the primary one is good for.

    Raises:
        ConfigError: it does not.
    """
    for name in names:
        stated(module, name)
    if primary is not None and not stated(module, primary).skill:
        raise ConfigError(f"{module.__name__}: METRICS['{primary}'] needs a 'skill', as it is the primary metric")


def confusion_table(targets: Sequence[str], predictions: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """A confusion matrix as `{"labels": [...], "counts": [[...]]}`: rows are targets, columns predictions."""
    return {"labels": list(labels), "counts": confusion(targets, predictions, labels)}
