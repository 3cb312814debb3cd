"""What a checkpoint is asked.

Each module of this family has:

- `Settings`, a pydantic model of its own keys in `[[evaluate.benchmarks]]`;
- `metric_names(settings) -> Collection[str]`, every metric that `summarize` may give, so that a rule of the gate about
  another is refused before anything is trained; a module without it has its rules read by the report alone;
- `MEANS`, its metrics that are means of others of its metrics, a tuple in a tuple being a mean of its own;
- `F1`, which confusion table each of its macro-F1s is of;
- `prompt_name(settings, chat) -> str`, which prompt is used, as `result.json` names it;
- `samples(settings) -> Iterator[Sample]`, which parses every row into nouns or raises `DataError`;
- `score(sample, completion) -> Score`, or, where others must be asked for it,
  `score_all(samples, completions, settings, folder) -> list[Score]`, which keeps what it learns in `folder`;
- `summarize(samples, completions, scores) -> Summary`.

Samples with `choices` are scored by log-likelihood of what `scoring_request(sample, settings, chat) -> ScoringRequest`
writes, one continuation per choice; the others are answered freely, up to `settings.max_new_tokens`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calltune.evaluation.statistics import confusion

BENCHMARKS = {
    "bfcl": "calltune.evaluation.benchmarks.bfcl",
    "when2call": "calltune.evaluation.benchmarks.when2call",
    "when2call_generation": "calltune.evaluation.benchmarks.when2call_generation",
    "when2call_judge": "calltune.evaluation.benchmarks.when2call_judge",
}


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


def confusion_table(targets: Sequence[str], predictions: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """A confusion matrix as `{"labels": [...], "counts": [[...]]}`: rows are targets, columns predictions."""
    return {"labels": list(labels), "counts": confusion(targets, predictions, labels)}
