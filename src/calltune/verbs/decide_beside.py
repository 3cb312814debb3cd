"""What evaluated decisions are worth, beside the same ones uncalibrated, and beside what the model writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calltune.config.run_file import Config
from calltune.evaluation.benchmarks import decides
from calltune.evaluation.benchmarks.decide import probabilities_of, top_error
from calltune.evaluation.decision_statistics import auroc, brier, paired_interval
from calltune.evaluation.decisions import RAW
from calltune.evaluation.jobs import open_benchmarks
from calltune.evaluation.statistics import tango_interval
from calltune.report.results import Measured, checkpoints, read_results
from calltune.types import BEHAVIORS, Sample

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Beside:
    """One checkpoint's decisions on one benchmark's questions.

    Intervals are of paired differences, 95 %: of the calibration error, calibrated less raw; and of the accuracy, what
    is decided less what is written, None where the same questions were not answered freely.
    """

    num_questions: int
    accuracy: float
    ece_raw: float
    ece: float
    ece_interval: Interval
    brier_raw: float
    brier: float
    auroc_call: float | None
    num_written: int
    accuracy_decided: float | None
    accuracy_written: float | None
    written_interval: Interval | None


def beside(config: Config) -> dict[str, Beside]:
    """By checkpoint what its evaluated decisions are worth; empty before `evaluate` with a `decide` benchmark.

    Raises:
        CalltuneError: a result is damaged.
    """
    measured = read_results(open_benchmarks(config), checkpoints(config))
    decided = next((each for each in measured if decides(each.module) and each.paired()), None)
    if decided is None:
        return {}
    written = [each for each in measured if each.module.__name__.endswith(".when2call_generation")]
    return {name: _beside(decided, written, name) for name in decided.paired()}


def _beside(decided: Measured, written: Sequence[Measured], name: str) -> Beside:
    answers = decided.answers[name]
    whole = [each for each in answers.completions if each.status == "ok"]
    samples = {sample.id: sample for sample in decided.samples or ()}
    targets = np.array([BEHAVIORS.index(samples[each.sample_id].target) for each in whole])
    raw, calibrated = probabilities_of(whole, RAW), probabilities_of(whole)
    own = {score.sample_id: score.value for score in answers.scores if score.value is not None}
    freely = _freely(written, name, samples)
    both = sorted(own.keys() & freely.keys())
    wins = sum(own[key] == 1 and freely[key] != 1 for key in both)
    losses = sum(own[key] != 1 and freely[key] == 1 for key in both)
    return Beside(
        num_questions=len(whole),
        accuracy=float(np.mean(list(own.values()))),
        ece_raw=top_error(raw, targets),
        ece=top_error(calibrated, targets),
        ece_interval=paired_interval(
            lambda rows: top_error(raw[rows], targets[rows]),
            lambda rows: top_error(calibrated[rows], targets[rows]),
            len(targets),
        ),
        brier_raw=brier(raw, targets),
        brier=brier(calibrated, targets),
        auroc_call=auroc(calibrated[:, BEHAVIORS.index("tool_call")], targets == BEHAVIORS.index("tool_call")),
        num_written=len(both),
        accuracy_decided=float(np.mean([own[key] for key in both])) if both else None,
        accuracy_written=float(np.mean([freely[key] for key in both])) if both else None,
        written_interval=tango_interval(wins, losses, len(both)) if both else None,
    )


def _freely(written: Sequence[Measured], name: str, asked: Mapping[str, Sample]) -> dict[str, float]:
    """The verdicts on what a checkpoint wrote to the same questions, by their ids."""
    for measured in written:
        if name in measured.paired():
            same = {each.id for each in measured.samples or () if _is_same(each, asked.get(each.id))}
            scores = measured.answers[name].scores
            return {s.sample_id: s.value for s in scores if s.value is not None and s.sample_id in same}
    return {}


def _is_same(one: Sample, other: Sample | None) -> bool:
    return other is not None and (one.messages, one.tools) == (other.messages, other.tools)
