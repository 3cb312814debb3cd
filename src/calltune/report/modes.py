"""Benchmarks that were asked with thinking off and on: what each checkpoint did in each mode, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from calltune.config.chat import THINKING_SUFFIX
from calltune.report.resampling import Interval
from calltune.report.results import Answers, Measured

_COUNTS = {"with_thought": "answers with a thought", "endless": "thoughts that never ended"}


@dataclass(frozen=True, slots=True)
class Modes:
    """One benchmark with a column for each checkpoint in each mode that it was asked in, such as `sft on`.

    `metrics` holds the value of each column, with the benchmark's own interval where it has one; `counts` says how many
    answers hold a thought, whatever was asked for, and in how many it never ended.
    """

    title: str
    columns: Sequence[str]
    metrics: Sequence[tuple[str, Sequence[tuple[float | None, Interval | None]]]]
    counts: Sequence[tuple[str, Sequence[int]]]


def modes_of(benchmarks: Sequence[Measured]) -> list[Modes]:
    """The benchmarks of free answers, where the run file says how the model is to think; the primary metric first."""
    by_title: dict[str, dict[str, dict[str, Answers]]] = {}
    for benchmark in benchmarks:
        for name, answers in benchmark.answers.items():
            if answers.thoughts is not None:
                thinks = answers.result.prompt.endswith("(thinking)")
                asked = by_title.setdefault(benchmark.title.removesuffix(THINKING_SUFFIX), {})
                asked.setdefault(name, {})["on" if thinks else "off"] = answers
    return [_side_by_side(title, asked) for title, asked in by_title.items()]


def _side_by_side(title: str, asked: dict[str, dict[str, Answers]]) -> Modes:
    columns = {f"{name} {mode}": modes[mode] for name, modes in asked.items() for mode in sorted(modes)}
    results = [answers.result for answers in columns.values()]
    names = [name for name in results[0].metrics if not name.startswith("recall_")]
    names.sort(key=lambda name: name != results[0].primary_metric)
    metrics = [(name, [(one.metrics.get(name), one.intervals.get(name)) for one in results]) for name in names]
    counts = [
        (words, [(answers.thoughts or {}).get(key, 0) for answers in columns.values()])
        for key, words in _COUNTS.items()
    ]
    return Modes(title, list(columns), metrics, counts)
