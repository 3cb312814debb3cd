"""Every metric of every benchmark, written as sums over rows, is the benchmark's own figure."""

import random
from pathlib import Path
from typing import ClassVar

import pytest

from calltune.evaluation.benchmarks import Metric, Summary, bfcl, when2call_judge
from calltune.report.measures import facts_by_row, measures, verified
from calltune.report.results import Answers
from calltune.types import BEHAVIORS, Completion, Message, Sample, Score

BFCL_IDS = [
    f"{category}_{number}"
    for category in ("simple_python", "simple_java", "multiple", "parallel", "live_simple", "live_multiple")
    for number in range(7)
] + [f"irrelevance_{number}" for number in range(5)]


def judged(generator: random.Random) -> tuple[list[Sample], list[Completion], list[Score]]:
    samples, completions, scores = [], [], []
    for number in range(60):
        target = generator.choice(BEHAVIORS[1:])
        shown = generator.choice((*BEHAVIORS, "malformed", "empty"))
        samples.append(Sample(str(number), "when2call_judge", (), (), target))
        completions.append(Completion(str(number), Message("assistant", "x"), "x", "ok"))
        scores.append(Score(str(number), None if number == 7 else float(shown == target), shown))
    return samples, completions, scores


def called(generator: random.Random) -> tuple[list[Sample], list[Completion], list[Score]]:
    labels = ("correct", "wrong_tool", "malformed", "missed_call")
    shown = [generator.choice(labels) for _ in BFCL_IDS]
    return (
        [Sample(name, "bfcl", (), (), {"expect": "calls"}) for name in BFCL_IDS],
        [Completion(name, Message("assistant", "x"), "x", "ok") for name in BFCL_IDS],
        [Score(name, float(label == "correct"), label) for name, label in zip(BFCL_IDS, shown, strict=True)],
    )


@pytest.mark.parametrize(("module", "rows"), [(when2call_judge, judged), (bfcl, called)], ids=["judge", "bfcl"])
@pytest.mark.parametrize("seed", range(5))
def test_every_metric_is_reproduced(module, rows, seed: int) -> None:
    samples, completions, scores = rows(random.Random(seed))
    metrics = module.summarize(samples, completions, scores).metrics
    answers = Answers({"metrics": metrics}, None, completions, scores)
    found = verified(measures(module, facts_by_row(module, samples, answers)), metrics)
    assert set(found) == {name for name, value in metrics.items() if value is not None}


class Plugin:
    """A benchmark of the user's own, one metric of which is no mean over rows."""

    __name__ = "my.benchmark"
    METRICS: ClassVar[dict] = {"mean": Metric(), "spread": Metric()}

    @staticmethod
    def summarize(samples, completions, scores):
        values = [score.value for score in scores]
        return Summary("mean", {"mean": sum(values) / len(values), "spread": max(values) - min(values)})


def test_a_metric_that_is_no_mean_over_rows_is_left_out() -> None:
    scores = [Score(str(number), float(number % 2), "x") for number in range(6)]
    completions = [Completion(score.sample_id, None, "", "ok") for score in scores]
    samples = [Sample(score.sample_id, "b", (), (), None) for score in scores]
    metrics = Plugin.summarize(samples, completions, scores).metrics
    facts = facts_by_row(Plugin, samples, Answers({}, None, completions, scores))  # type: ignore[arg-type]
    assert set(verified(measures(Plugin, facts), metrics)) == {"mean"}  # type: ignore[arg-type]


def test_real_bfcl_rows_have_every_interval(shared_data: Path) -> None:
    samples = list(bfcl.samples(bfcl.Settings(path=str(shared_data / "bfcl"), limit=20)))
    completions = [Completion(s.id, Message("assistant", "No."), "No.", "ok") for s in samples]
    scores = [bfcl.score(s, c) for s, c in zip(samples, completions, strict=True)]
    metrics = bfcl.summarize(samples, completions, scores).metrics
    facts = facts_by_row(bfcl, samples, Answers({}, None, completions, scores))
    found = verified(measures(bfcl, facts), metrics)
    assert set(found) == {name for name, value in metrics.items() if value is not None}
