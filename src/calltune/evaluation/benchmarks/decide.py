"""What would the model do with When2Call's questions? Its probabilities of the behaviours, from one pass over a prompt.

Nothing is written, and no answers are on offer: `calltune.evaluation.decisions` asks how the answer begins. `_raw` are
the figures before calibration.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from calltune.evaluation.benchmarks import Metric, Summary, confusion_table, one_by_one, own_template
from calltune.evaluation.benchmarks.when2call_rows import QuestionSettings, questions
from calltune.evaluation.calibration import CALL
from calltune.evaluation.decision_statistics import auroc, brier, calibration_error, risk_at, risks
from calltune.evaluation.decisions import OUTSIDE, RAW
from calltune.evaluation.statistics import recall_per_class, wilson_interval
from calltune.types import BEHAVIORS, Completion, Sample, Score

METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(
        "it would do the right kind of thing, at its operating point",
        skill="deciding what to do before it writes",
    ),
    "ece": Metric("how far its confidence is from being right (15 bins)", less_is_better=True),
    "ece_raw": Metric(less_is_better=True),
    "brier": Metric("squared distance of its probabilities from the truth, halved", less_is_better=True),
    "brier_raw": Metric(less_is_better=True),
    "auroc_call": Metric("a question with a due call has the higher probability of a call"),
    "aurc": Metric("mean share of wrong decisions among the surest, over all coverages", less_is_better=True),
    "risk_at_50": Metric(less_is_better=True),
    "risk_at_80": Metric("wrong decisions among the surest 80 %", less_is_better=True),
    "needless_calls": Metric("calls though none is due, at the operating point", less_is_better=True),
    "missed_calls": Metric("no call though one is due, at the operating point", less_is_better=True),
    "outside": Metric("what falls on answers that begin as none that was learned from", less_is_better=True),
    **{f"recall_{name}": Metric() for name in BEHAVIORS},
}
DECIDES = True
prompt_name = own_template
scoring_request = None
"""No choices are offered."""


class Settings(QuestionSettings):
    """The keys of a `decide` benchmark."""


def metric_names(settings: Settings) -> list[str]:
    """All of them."""
    return list(METRICS)


def samples(settings: Settings) -> Iterator[Sample]:
    """One sample per question; its target is the right behaviour.

    Raises:
        DataError: as `questions` does.
    """
    for question in questions(settings, with_four=False):
        yield question.sample("decide", question.correct)


def score(sample: Sample, completion: Completion) -> Score:
    """1 when the model decides for what is right."""
    if completion.status != "ok":
        return Score(sample.id, None, completion.status, completion.reason)
    return Score(sample.id, float(completion.text == sample.target), completion.text)


score_all = one_by_one(score)


def summarize(samples: Sequence[Sample], completions: Sequence[Completion], scores: Sequence[Score]) -> Summary:
    """Accuracy, calibration, ranking, risk by coverage, and what the operating point does."""
    asked = [(s, c, v) for s, c, v in zip(samples, completions, scores, strict=True) if v.value is not None]
    if not asked:
        return Summary("accuracy", dict.fromkeys(METRICS))
    targets = [str(sample.target) for sample, _, _ in asked]
    decided = [verdict.label for _, _, verdict in asked]
    numbers = np.array([BEHAVIORS.index(sample.target) for sample, _, _ in asked])
    probabilities = probabilities_of([completion for _, completion, _ in asked])
    raw = probabilities_of([completion for _, completion, _ in asked], RAW)
    curve = risks(probabilities.max(axis=1), probabilities.argmax(axis=1) == numbers)
    called = [made == "tool_call" for made in decided]
    due = [made for made, target in zip(called, targets, strict=True) if target == "tool_call"]
    undue = [made for made, target in zip(called, targets, strict=True) if target != "tool_call"]
    right = sum(bool(verdict.value) for _, _, verdict in asked)
    metrics = {
        "accuracy": right / len(asked),
        "ece": top_error(probabilities, numbers),
        "ece_raw": top_error(raw, numbers),
        "brier": brier(probabilities, numbers),
        "brier_raw": brier(raw, numbers),
        "auroc_call": auroc(probabilities[:, CALL], numbers == CALL),
        "aurc": float(curve.mean()),
        "risk_at_50": risk_at(curve, 0.5),
        "risk_at_80": risk_at(curve, 0.8),
        "needless_calls": sum(undue) / len(undue) if undue else None,
        "missed_calls": due.count(False) / len(due) if due else None,
        "outside": float(np.mean([np.exp(completion.logprobs[OUTSIDE]) for _, completion, _ in asked])),
        **{f"recall_{label}": recall for label, recall in recall_per_class(targets, decided).items()},
    }
    intervals = {"accuracy": wilson_interval(right, len(asked))}
    return Summary("accuracy", metrics, intervals, {"by_decision": confusion_table(targets, decided, BEHAVIORS)})


def probabilities_of(completions: Sequence[Completion], before: str = "") -> np.ndarray:
    """Probabilities [completions, behaviours]; `RAW` as `before` gives those before calibration."""
    return np.exp([[completion.logprobs[before + name] for name in BEHAVIORS] for completion in completions])


def top_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The calibration error of each row's likeliest behaviour."""
    return calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)
