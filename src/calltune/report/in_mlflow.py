"""What MLflow's pages show of a report: figures and verdict of the judged checkpoint, and a table of answers."""

from collections.abc import Sequence

from calltune.report.findings import Findings
from calltune.report.finite import is_finite
from calltune.report.page.examples import message_text, target_text
from calltune.types import Completion, Sample, Score


def headline_figures(findings: Findings) -> dict[str, float]:
    """Each benchmark's own metric and the tiles' of the judged checkpoint, as `benchmark.metric`, all shares.

    Beside them stand their differences to the first checkpoint, the base, and where those begin and end at 95 %:
    `benchmark.metric.delta`, `.delta_low` and `.delta_high`.
    """
    verdict, figures = findings.verdict, dict[str, float | None]()
    sides = (verdict.before, verdict.after)
    pairs = {c.benchmark: c.metrics for c in findings.comparisons if (c.before, c.after) == sides}
    for benchmark in findings.benchmarks:
        if verdict.after not in benchmark.answers:
            continue
        result = benchmark.answers[verdict.after].result
        tiles = [tile.metric for tile in verdict.tiles if tile.benchmark == benchmark.title]
        for metric in dict.fromkeys((result.primary_metric, *tiles)):
            name = f"{benchmark.title}.{metric}"
            figures[name] = result.metrics.get(metric)
            if found := pairs.get(benchmark.title, {}).get(metric):
                figures[f"{name}.delta"] = found.difference
                figures[f"{name}.delta_low"], figures[f"{name}.delta_high"] = found.interval
    return {name: value for name, value in figures.items() if value is not None and is_finite(value)}


def verdict_tags(findings: Findings) -> dict[str, str]:
    """The verdict, what it is about, and the gate: `passed`, `broken`, or `none` where the run file has no rules.

    `calltune.ship` is the checkpoint to ship: the judged one, an earlier one that is better, or `none`.
    """
    verdict = findings.verdict
    rulings = [f"{'kept' if ruling.passed else 'broken'}: {ruling.rule}" for ruling in findings.rulings]
    return {
        "calltune.verdict": verdict.title,
        "calltune.ship": verdict.better or (verdict.after if verdict.word == "Ship" else "none"),
        "calltune.verdict.reason": verdict.reason,
        "calltune.checkpoint": verdict.after,
        "calltune.against": verdict.before,
        "calltune.gate": {True: "passed", False: "broken", None: "none"}[findings.passed],
        "calltune.gate.rules": "\n".join(rulings) or "none",
    }


def answer_table(
    samples: Sequence[Sample], completions: Sequence[Completion], scores: Sequence[Score], checkpoint: str
) -> dict[str, list[str]]:
    """Every answer of a checkpoint, by column, each a list as long as `samples`.

    The verdict is one of those that a result counts: correct, wrong, malformed, truncated, error.
    """
    columns = ("id", "question", "expected", "answer", "verdict", "reason", "checkpoint")
    rows = [
        (
            sample.id,
            _question(sample),
            target_text(sample),
            _answer(sample, completion, score),
            _verdict(completion, score),
            score.reason or completion.reason,
            checkpoint,
        )
        for sample, completion, score in zip(samples, completions, scores, strict=True)
    ]
    return {name: [row[number] for row in rows] for number, name in enumerate(columns)}


def _question(sample: Sample) -> str:
    """The user's words where they are all there is, else each turn under its role."""
    if len(sample.messages) == 1:
        return message_text(sample.messages[0])
    return "\n".join(f"{message.role}: {message_text(message)}" for message in sample.messages)


def _answer(sample: Sample, completion: Completion, score: Score) -> str:
    """What was written, or the label of the choice that was found likeliest."""
    written = completion.text or (message_text(completion.message) if completion.message else "")
    return written or (score.label if sample.choices else "")


def _verdict(completion: Completion, score: Score) -> str:
    if score.value is None:
        return "error"
    if score.value == 1:
        return "correct"
    return completion.status if completion.status in ("malformed", "truncated") else "wrong"
