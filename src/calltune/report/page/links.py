"""Links from a figure to the questions behind it: the filters of the examples browser, written as a fragment.

Such a link is made only where the browser's filters find just as many questions as the figure counts.
"""

from collections import Counter
from urllib.parse import urlencode

from calltune.report.results import Measured

NOT_WHOLE = ("malformed", "truncated")


def link(**conditions: str) -> str:
    """The fragment that opens the examples with these filters; `page.js` reads the same names."""
    return f"#examples?{urlencode(conditions)}"


def tool_link(benchmark: str, tool: str) -> str:
    """The questions that offer this very tool; in quotes a name is no part of another."""
    return link(benchmark=benchmark, tool=f'"{tool}"')


class Counted:
    """How many questions of a benchmark the browser's filters find."""

    def __init__(self, benchmark: Measured) -> None:
        self._title = benchmark.title
        self._cells: dict[str, Counter[tuple[str, str]]] = {}
        self._verdicts: dict[str, Counter[str]] = {}
        groups = [sample.group[1] for sample in benchmark.samples or ()]
        for name in benchmark.paired():
            scores = benchmark.answers[name].scores
            self._cells[name] = Counter(
                (group, score.label) for group, score in zip(groups, scores, strict=True) if score.value is not None
            )
            self._verdicts[name] = Counter(_verdict(score.value, score.label) for score in scores)

    def cell(self, checkpoint: str, right: str, gave: str, count: int) -> str | None:
        """The link of a cell of a confusion table."""
        found = self._cells.get(checkpoint, Counter())[right, gave]
        return link(benchmark=self._title, right=right, by=checkpoint, gave=gave) if found == count > 0 else None

    def verdict(self, checkpoint: str, name: str, count: int) -> str | None:
        """The link of one of the bins that every question is in one of."""
        found = self._verdicts.get(checkpoint, Counter())[name]
        words = {"correct": "=right", "wrong": "=wrong but whole", "errors": "=not scored"}
        gave = words.get(name, name)
        return link(benchmark=self._title, by=checkpoint, gave=gave) if found == count > 0 else None


def _verdict(value: float | None, label: str) -> str:
    if value is None:
        return "errors"
    if value == 1:
        return "correct"
    return label if label in NOT_WHOLE else "wrong"
