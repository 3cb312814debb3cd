"""What each benchmark says of its metrics, and what it gives, are the same."""

import random
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from planted_run import plant_questions

from calltune.errors import ConfigError
from calltune.evaluation.benchmarks import BENCHMARKS, Metric, Parts, Summary, bfcl, check_stated
from calltune.evaluation.benchmarks.bfcl_ast import ErrorClass
from calltune.evaluation.decisions import OUTSIDE, RAW
from calltune.types import BEHAVIORS, Completion, Message, Sample, Score

BFCL_TOY = Path(__file__).parents[2] / "gold" / "bfcl_toy"
JUDGE = {"judge": {"model": "m", "base_url": "http://127.0.0.1:9/v1"}}
OWN_KEYS = {"when2call_judge": JUDGE}
LESS_IS_BETTER = {
    "when2call": {"hallucination_rate", "hallucination_rate_norm"},
    "when2call_generation": {"malformed_rate", "truncated_rate"},
    "when2call_judge": {"hallucination_rate", "malformed_rate", "truncated_rate", "empty_rate"},
    "bfcl": {f"{name}_rate" for name in (*get_args(ErrorClass), "truncated")},
    "decide": {"ece", "ece_raw", "brier", "brier_raw", "aurc", "risk_at_50", "risk_at_80", "outside"}
    | {"needless_calls", "missed_calls"},
}


def settings_of(name: str, folder: Path) -> object:
    path = BFCL_TOY if name == "bfcl" else folder / "questions.jsonl"
    if name != "bfcl":
        plant_questions(path, 24)
    return module_of(name).Settings.model_validate({"path": str(path), **OWN_KEYS.get(name, {})})


def module_of(name: str) -> ModuleType:
    return import_module(BENCHMARKS.modules[name])


def answers(name: str, samples: list[Sample]) -> Iterator[tuple[Completion, Score]]:
    """Of every kind, half of them right; what a verdict is called is of no account."""
    generator = random.Random(0)
    decided = [*BEHAVIORS, *(RAW + behavior for behavior in BEHAVIORS), OUTSIDE]
    for sample in samples:
        labels = decided if name == "decide" else sample.choices
        logprobs = {label: -1 - generator.random() for label in labels}
        message = None if sample.choices else Message("assistant", "I can't.")
        yield (
            Completion(sample.id, message, "", "ok", logprobs, dict.fromkeys(logprobs, 9)),
            Score(sample.id, float(generator.random() < 0.5), generator.choice(BEHAVIORS)),
        )


def summary_of(name: str, folder: Path) -> Summary:
    samples = list(module_of(name).samples(settings_of(name, folder)))
    completions, scores = zip(*answers(name, samples), strict=True)
    return module_of(name).summarize(samples, completions, scores)


@pytest.mark.parametrize("name", BENCHMARKS.modules)
def test_names_and_summary_and_what_is_said_agree(name: str, tmp_path: Path) -> None:
    module, summary = module_of(name), summary_of(name, tmp_path)
    named = module.metric_names(settings_of(name, tmp_path))
    assert sorted(named) == sorted(module.METRICS) == sorted(summary.metrics)
    check_stated(module, named, summary.primary_metric)


@pytest.mark.parametrize("name", BENCHMARKS.modules)
def test_what_is_said_of_a_metric_is_of_the_benchmark_s_own(name: str, tmp_path: Path) -> None:
    metrics, summary = module_of(name).METRICS, summary_of(name, tmp_path)
    assert {key for key, metric in metrics.items() if metric.less_is_better} == LESS_IS_BETTER[name]
    assert {key for key, metric in metrics.items() if metric.harm} <= LESS_IS_BETTER[name]
    for metric in metrics.values():
        assert set(leaves(metric.mean_of)) <= set(metrics)
        assert metric.f1_of in ("", *summary.confusion)


def leaves(parts: Parts) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        else:
            yield from leaves(part)


def test_a_category_that_is_not_asked_has_no_metric() -> None:
    named = bfcl.metric_names(bfcl.Settings(path="x", categories=("live_simple",)))
    assert [name for name in named if name.startswith("accuracy_")] == ["accuracy_live_simple"]


def test_what_is_not_said_is_one_line() -> None:
    module: Any = ModuleType("mine.asked")
    module.METRICS = {"share": Metric("the share")}
    check_stated(module, ["share"])
    with pytest.raises(ConfigError, match=r"^mine\.asked: METRICS says nothing of the metric 'spread'$"):
        check_stated(module, ["share", "spread"])
    with pytest.raises(ConfigError, match=r"^mine\.asked: METRICS\['share'\] needs a 'skill', as it is the primary"):
        check_stated(module, ["share"], "share")
