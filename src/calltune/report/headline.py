"""The report in one sentence: what got better, what got worse, and what is not certain."""

from collections.abc import Sequence
from dataclasses import dataclass

from calltune.report.comparison import Comparison, Difference
from calltune.report.results import Measured

_MOST_HARMS = 3


@dataclass(frozen=True, slots=True)
class Headline:
    """The sentence, and the phrases that it is made of."""

    text: str
    better: Sequence[str]
    worse: Sequence[str]
    uncertain: Sequence[str]


def headline(
    comparisons: Sequence[Comparison], first: str, last: str, benchmarks: Sequence[Measured], better: str = ""
) -> Headline:
    """The last checkpoint against the first, the base, and in the text against an earlier one that is better, too.

    Every benchmark's primary metric is named; beside it whatever else became worse beyond its interval, the largest
    first: rates of errors, and the accuracy of single classes or categories.
    """
    parts = _parts(comparisons, first, last, benchmarks)
    text = _sentence(parts, first, last, len(benchmarks))
    if better:
        text += f" {_sentence(_parts(comparisons, better, last, benchmarks), better, last, len(benchmarks))}"
    return Headline(text, **parts)


def _parts(
    comparisons: Sequence[Comparison], first: str, last: str, benchmarks: Sequence[Measured]
) -> dict[str, list[str]]:
    """What is better, worse and uncertain of the last checkpoint against the first, in phrases."""
    parts: dict[str, list[str]] = {"better": [], "worse": [], "uncertain": []}
    harms: list[tuple[float, str]] = []
    for comparison in comparisons:
        if (comparison.before, comparison.after) != (first, last):
            continue
        (benchmark,) = (b for b in benchmarks if b.title == comparison.benchmark)
        primary = benchmark.answers[last].result.primary_metric
        if primary in comparison.metrics:
            found, metric = comparison.metrics[primary], benchmark.metric(primary)
            side = found.direction(less_is_better=metric.less_is_better)
            parts[side].append(_phrase(comparison.benchmark, metric.skill, found))
        harms += _harms(comparison, benchmark, primary)
    parts["worse"] += [text for _, text in sorted(harms, reverse=True)[:_MOST_HARMS]]
    return parts


def points(found: Difference) -> str:
    """A difference in points with its interval, as a person reads it."""
    low, high = found.interval
    text = f"{100 * found.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
    return text.replace("-", "\N{MINUS SIGN}")


def _phrase(benchmark: str, words: str, found: Difference) -> str:
    return f"{words} ({benchmark}: {points(found).replace(' (', ', ')}"


def _harms(comparison: Comparison, benchmark: Measured, primary: str) -> list[tuple[float, str]]:
    """What became worse beyond its interval beside the primary metric, with by how much."""
    found = []
    for metric, difference in comparison.metrics.items():
        harm = benchmark.metric(metric).harm
        if harm and metric != primary and difference.interval[0] > 0:
            found.append((difference.difference, _phrase(comparison.benchmark, harm, difference)))
    for group in comparison.groups:
        if group.kind and group.accuracy.interval[1] < 0:
            words = f"fewer right answers in the {group.kind} {group.name}"
            found.append((-group.accuracy.difference, _phrase(comparison.benchmark, words, group.accuracy)))
    return found


def _sentence(parts: dict[str, list[str]], first: str, last: str, num_benchmarks: int) -> str:
    said = [
        f"{word} {listed(parts[side])}"
        for side, word in (("better", "better at"), ("worse", "worse:"), ("uncertain", "no certain change in"))
        if parts[side]
    ]
    if not said:
        measured = f"on {num_benchmarks} benchmark{'s' * (num_benchmarks != 1)}"
        if first == last:
            return f"Only {last} was measured, {measured}."
        return f"{last} and {first} were measured {measured}, but could not be compared question by question."
    return f"On the same questions, {last} against {first}: {'; '.join(said)} (95 % intervals)."


def listed(phrases: Sequence[str]) -> str:
    """The phrases as one, with commas and an "and" between them."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
