"""BFCL v4, single turn: which calls does the model make, and are they the expected ones?

Answers are generated freely and their calls compared with the accepted values (`bfcl_ast`); the verdicts are those of
bfcl-eval 2026.3.23, gorilla's Berkeley Function Calling Leaderboard, with one exception. There a call that cannot be
read counts as a refusal, so that garbage is right in the irrelevance categories (gorilla issue 443); here it is
malformed, and wrong everywhere.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, get_args

import pydantic

from calltune.config.table import Table
from calltune.errors import DataError
from calltune.evaluation.benchmarks import BROKEN_ANSWERS, Metric, Summary, one_by_one, own_template
from calltune.evaluation.benchmarks.bfcl_ast import ErrorClass, Mistake, find_mistake
from calltune.evaluation.benchmarks.bfcl_rows import (
    CATEGORIES,
    Category,
    category_file,
    category_of,
    expected_calls,
    read_category,
)
from calltune.evaluation.statistics import wilson_interval
from calltune.runtime.terminal import say
from calltune.types import Completion, Message, Sample, Score, ToolCall

_SIMPLE = ("simple_python", "simple_java", "simple_javascript")
_LIVE_AST = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
_IRRELEVANCE = ("irrelevance", "live_irrelevance")
_NON_LIVE_AST = (
    tuple(f"accuracy_{category}" for category in _SIMPLE),
    "accuracy_multiple",
    "accuracy_parallel",
    "accuracy_parallel_multiple",
)
_IRRELEVANCE_MEAN = tuple(f"accuracy_{category}" for category in _IRRELEVANCE)
_ERROR_CLASSES = (*get_args(ErrorClass), "truncated")
METRICS: Mapping[str, Metric] = {
    "overall_ast": Metric(
        "right calls: mean of non-live and live",
        skill="making the right calls",
        tile="exact calls",
        mean_of=(_NON_LIVE_AST, "live_ast"),
    ),
    "non_live_ast": Metric("right calls, BFCL's own questions", mean_of=_NON_LIVE_AST),
    "live_ast": Metric("right calls, users' questions"),
    "irrelevance_mean": Metric("no call where none fits", mean_of=_IRRELEVANCE_MEAN),
    "overall_single_turn": Metric("mean of the three above", mean_of=(_NON_LIVE_AST, "live_ast", _IRRELEVANCE_MEAN)),
    **{f"accuracy_{category}": Metric() for category in CATEGORIES},
    **{f"{name}_rate": Metric(less_is_better=True, harm=f"a higher {name}_rate") for name in _ERROR_CLASSES},
    **BROKEN_ANSWERS,
}
prompt_name = own_template
scoring_request = None
"""Answers are written freely."""


class Settings(Table):
    """The keys of a `bfcl` benchmark."""

    path: str
    """A folder with `BFCL_v4_<category>.json` and `possible_answer/`, as gorilla publishes them."""

    categories: Annotated[tuple[Category, ...], pydantic.Field(min_length=1)] = CATEGORIES
    """Which categories are asked. Named ones must be there; of the default, those without a file are left out."""

    limit: Annotated[int, pydantic.Field(gt=0)] | None = None
    """Questions to take from the beginning of every category."""

    max_new_tokens: Annotated[int, pydantic.Field(gt=0)] = 512
    """An answer longer than this is truncated, and counted so."""


def metric_names(settings: Settings) -> list[str]:
    """BFCL's weighted means, the accuracy of each category that is asked, and a rate for each class of error."""
    means = ["overall_ast", "non_live_ast", "live_ast", "irrelevance_mean", "overall_single_turn"]
    return [*means, *(f"accuracy_{name}" for name in settings.categories), *_error_rates(())]


def samples(settings: Settings) -> Iterator[Sample]:
    """One sample per row, category after category; ids are BFCL's own. Categories without a file are told.

    Raises:
        DataError: the folder or a named category is missing, there is no row at all, or one is broken: file, line and
            field.
    """
    folder = Path(settings.path)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of BFCL files")
    asked: list[Category] = list(dict.fromkeys(settings.categories))
    if "categories" not in settings.model_fields_set:
        asked = [category for category in CATEGORIES if category_file(folder, category).exists()]
    if asked and (absent := [category for category in settings.categories if category not in asked]):
        say(f"bfcl: {folder} has no file for {', '.join(absent)}; left out")
    num_samples = 0
    for category in asked:
        for sample in islice(read_category(folder, category), settings.limit):
            num_samples += 1
            yield sample
    if not num_samples:
        raise DataError(f"{folder}: holds no questions of BFCL v4 (BFCL_v4_<category>.json)")


def score(sample: Sample, completion: Completion) -> Score:
    """1 when the calls are the expected ones, labelled `correct`; else 0 and the class of error, with a sentence.

    A malformed or truncated answer is 0 and labelled so, also where no call is expected; an error has no value.
    """
    if completion.status == "error":
        return Score(sample.id, None, "error", completion.reason)
    if completion.status != "ok":
        return Score(sample.id, 0.0, completion.status, completion.reason)
    assert completion.message is not None, "an answer that is ok has a message"
    offered = {tool.name for tool in sample.tools}
    mistake = _mistake(sample, completion.message.tool_calls, offered)
    if mistake is None:
        return Score(sample.id, 1.0, "correct")
    return Score(sample.id, 0.0, mistake.error_class, mistake.reason)


score_all = one_by_one(score)


def known_answer(sample: Sample) -> Message | None:
    """The expected calls, each required argument with the first value that is accepted; None where any call will do."""
    if sample.target["expect"] != "calls":
        return None
    calls = [
        ToolCall(
            call.name, {name: call.arguments[name].accepted[0] for name in call.required if name in call.arguments}
        )
        for call in expected_calls(sample.target)
    ]
    return Message("assistant", tool_calls=tuple(calls))


def _mistake(sample: Sample, calls: Sequence[ToolCall], offered: Collection[str]) -> Mistake | None:
    if sample.target["expect"] == "no_call":
        return Mistake("needless_call", f"'{calls[0].name}' was called, no call expected") if calls else None
    if sample.target["expect"] == "any_call":
        return None if calls else Mistake("missed_call", "no call, one was expected")
    return find_mistake(expected_calls(sample.target), calls, sample.target["language"], offered)


def summarize(samples: Sequence[Sample], completions: Sequence[Completion], scores: Sequence[Score]) -> Summary:
    """Accuracy of every category, BFCL's own weighting of them, and how often each class of error occurs.

    The weighting is that of `generate_leaderboard_csv` in bfcl-eval 2026.3.23:

    - `non_live_ast`: the mean of simple, multiple, parallel and parallel_multiple, where simple is itself the mean of
      its three languages;
    - `live_ast`: the share of all rows of the four live AST categories;
    - `irrelevance_mean`: the mean of the two irrelevance categories;
    - `overall_ast`: `non_live_ast` and `live_ast` at equal weights, as 10 : 10 there;
    - `overall_single_turn`: these two and `irrelevance_mean` at equal weights, as 10 : 10 : 10 there; the 70 parts of
      multi-turn and agentic rows are not measured here.

    A category without a scored row is None and left out of the means; BFCL shows such a mean as N/A or counts a zero.
    """
    values: dict[str, list[float]] = {category: [] for category in CATEGORIES}
    for sample, verdict in zip(samples, scores, strict=True):
        if verdict.value is not None:
            values[category_of(sample.id)].append(verdict.value)
    accuracy = {category: _mean(of_category) for category, of_category in values.items()}
    non_live_ast = _mean_of(
        [_mean_of([accuracy[category] for category in _SIMPLE])]
        + [accuracy[category] for category in ("multiple", "parallel", "parallel_multiple")]
    )
    live = [value for category in _LIVE_AST for value in values[category]]
    irrelevance_mean = _mean_of([accuracy[category] for category in _IRRELEVANCE])
    metrics: dict[str, float | None] = {
        "overall_ast": _mean_of([non_live_ast, _mean(live)]),
        "non_live_ast": non_live_ast,
        "live_ast": _mean(live),
        "irrelevance_mean": irrelevance_mean,
        "overall_single_turn": _mean_of([non_live_ast, _mean(live), irrelevance_mean]),
        **{f"accuracy_{category}": value for category, value in accuracy.items()},
        **_error_rates(scores),
    }
    intervals = {
        f"accuracy_{category}": wilson_interval(int(sum(of_category)), len(of_category))
        for category, of_category in values.items()
        if of_category
    }
    if live:
        intervals["live_ast"] = wilson_interval(int(sum(live)), len(live))
    return Summary("overall_ast", metrics, intervals)


def _error_rates(scores: Sequence[Score]) -> Mapping[str, float | None]:
    labels = [verdict.label for verdict in scores if verdict.value is not None]
    return {f"{name}_rate": labels.count(name) / len(labels) if labels else None for name in _ERROR_CLASSES}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _mean_of(parts: Sequence[float | None]) -> float | None:
    """The mean of the parts that were measured."""
    return _mean([part for part in parts if part is not None])
