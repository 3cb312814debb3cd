"""What the page shows of errors: confusion tables, verdicts, mistakes in calls; each figure with its link."""

from collections.abc import Mapping, Sequence
from typing import Any

from calltune.report.mistakes import KINDS, MEANINGS, CallMistakes
from calltune.report.page.links import Counted, link
from calltune.report.results import Measured


def verdicts(benchmark: Measured, counted: Counted) -> list[tuple[str, list[tuple[int, int, str | None]]]]:
    """Every bin with its count, the number of questions and the link, by checkpoint."""
    rows = []
    for bin_name in benchmark.first.bins:
        counts = [(name, a.result.bins[bin_name], a.result.num_samples) for name, a in benchmark.answers.items()]
        rows.append((bin_name, [(count, of, counted.verdict(name, bin_name, count)) for name, count, of in counts]))
    return rows


def mistake_rows(
    title: str, found: Mapping[str, CallMistakes]
) -> list[tuple[str, str, list[tuple[int, int, str | None]]]]:
    """Each kind of mistake that occurs, what it is, and by checkpoint how many answers of how many hold it."""
    rows = []
    for kind in KINDS:
        cells = [
            (of.counts[kind], of.num_possible(kind), link(benchmark=title, by=name, mistake=kind))
            for name, of in found.items()
        ]
        if any(count for count, _, _ in cells):
            rows.append((kind, MEANINGS[kind], [(n, of, to if n else None) for n, of, to in cells]))
    return rows


def confusions(benchmark: Measured, counted: Counted) -> list[dict[str, Any]]:
    """By table a matrix per checkpoint; labels that occur nowhere are left out, the per-character tables come first.

    A row is its label, how many questions it is of, and its cells.
    """
    found = []
    for name in sorted(benchmark.first.confusion, key=lambda name: not name.endswith("_norm")):
        first = benchmark.first.confusion[name]
        every = [(checkpoint, answers.result.confusion.get(name)) for checkpoint, answers in benchmark.answers.items()]
        tables = {checkpoint: table for checkpoint, table in every if table and table["labels"] == first["labels"]}
        if len(tables) < len(every):
            # Another version has other tables.
            continue
        labels, rows = first["labels"], range(len(first["counts"]))
        given = [n for n in range(len(labels)) if any(row[n] for table in tables.values() for row in table["counts"])]
        asked = [n for n in rows if any(any(table["counts"][n]) for table in tables.values())]
        found.append(
            {
                "name": name,
                "columns": [labels[n] for n in given],
                "matrices": [
                    {
                        "checkpoint": checkpoint,
                        "rows": [
                            (
                                labels[n],
                                sum(table["counts"][n]),
                                [
                                    _cell(table["counts"][n], m, n)
                                    | {"link": counted.cell(checkpoint, labels[n], labels[m], table["counts"][n][m])}
                                    for m in given
                                ],
                            )
                            for n in asked
                        ],
                    }
                    for checkpoint, table in tables.items()
                ],
            }
        )
    return found


def _cell(row: Sequence[int], column: int, right: int) -> dict[str, Any]:
    """A count, its share of the row in tenths as a shade, and whether it is what was asked."""
    part = row[column] / (sum(row) or 1)
    return {"count": row[column], "share": part, "shade": round(10 * part), "right": column == right}


def label_rows(labels: Mapping[str, Mapping[str, int]]) -> list[tuple[str, list[int]]]:
    """How often each label was given, by checkpoint; the most frequent label first."""
    names = {name for counts in labels.values() for name in counts}
    rows = [(name, [counts.get(name, 0) for counts in labels.values()]) for name in names]
    return sorted(rows, key=lambda row: (-max(row[1]), row[0]))
