"""Judges rows beside each other: which are left out, and what is told of those that stay."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from calltune.data.doctor import ALWAYS_REJECTED, Finding
from calltune.data.doctor.endings import cut_beside_others
from calltune.data.doctor.facts import Facts
from calltune.data.doctor.results import swapped_beside_others
from calltune.data.near import NearDuplicates


@dataclass(slots=True)
class Judged:
    """What came of judging the rows.

    `findings` holds each finding with the rows that it touches and a sentence on each. `copies` says how often `weight`
    wants a row to be written, by the row's `id()`.
    """

    findings: dict[Finding, list[tuple[Facts, str]]] = field(default_factory=lambda: defaultdict(list))
    copies: dict[int, int] = field(default_factory=dict)


def judge(rows: Sequence[Facts], rejected: Sequence[Finding], weights: Mapping[int, tuple[float, int]]) -> Judged:
    """Fill in each row's `verdict`; the first finding that is rejected is a row's reason.

    Args:
        rejected: findings whose rows are left out, beside those that leave no choice.
        weights: each source's weight and seed, by the source's number.
    """
    judged, out, order = Judged(), {*rejected, *ALWAYS_REJECTED}, get_args(Finding)
    _share_what_came_after(rows)
    for facts in rows:
        facts.verdict = None
        for finding, reason in facts.problems:
            judged.findings[finding].append((facts, reason))
        problems = [problem for problem in facts.problems if problem[0] in out]
        facts.verdict = min(problems, key=lambda problem: order.index(problem[0]), default=None)
    for finding, find in _BETWEEN_ROWS.items():
        for facts, reason in find([facts for facts in rows if facts.verdict is None]):
            judged.findings[finding].append((facts, reason))
            if finding in out:
                facts.verdict = (finding, reason)
    for source, (weight, seed) in weights.items():
        _weigh([f for f in rows if f.source == source and f.verdict is None], weight, seed, judged)
    return judged


def _share_what_came_after(rows: Sequence[Facts]) -> None:
    """Give all rows of one content what any of them tells of the time after the answer.

    A log that writes each request with its history holds an answer several times, and only the later ones are followed
    by what came of it.
    """
    told: dict[tuple[str, bytes], list[tuple[Finding, str]]] = {}
    for facts in rows:
        if later := [problem for problem in facts.problems if problem[0] in _AFTERWARDS]:
            told.setdefault((facts.kind, facts.content), later)
    for facts in rows if told else ():
        known = {finding for finding, _ in facts.problems}
        facts.problems += [each for each in told.get((facts.kind, facts.content), ()) if each[0] not in known]


def _cut(rows: Sequence[Facts]) -> list[tuple[Facts, str]]:
    return _new("cut_answer", cut_beside_others(rows))


def _swapped(rows: Sequence[Facts]) -> list[tuple[Facts, str]]:
    return _new("swapped_result", swapped_beside_others(rows))


def _new(finding: Finding, told: Sequence[tuple[Facts, str]]) -> list[tuple[Facts, str]]:
    """Return the rows of which a finding is not known from themselves."""
    return [(facts, reason) for facts, reason in told if finding not in dict(facts.problems)]


def _duplicates(rows: Sequence[Facts]) -> list[tuple[Facts, str]]:
    first: dict[tuple[str, bytes], str] = {}
    duplicates = []
    for facts in rows:
        key = (facts.kind, facts.content)
        if key in first:
            duplicates.append((facts, f"the same as {first[key]}"))
        else:
            first[key] = facts.id
    return duplicates


def _near(rows: Sequence[Facts]) -> list[tuple[Facts, str]]:
    known = {"example": NearDuplicates(), "preference": NearDuplicates()}
    return [
        (facts, f"nearly the same as {earlier}")
        for facts in rows
        if (earlier := known[facts.kind].earlier(facts.id, facts.minima)) is not None
    ]


def _contradictions(rows: Sequence[Facts]) -> list[tuple[Facts, str]]:
    """Return rows whose conversation and tools another row has too, with another behaviour."""
    groups: dict[bytes, list[Facts]] = defaultdict(list)
    for facts in rows:
        groups[facts.prompt].append(facts)
    told = []
    for group in groups.values():
        for facts in group:
            if other := next((row for row in group if row.behavior != facts.behavior), None):
                told.append((facts, f"{facts.behavior} here, {other.behavior} in {other.id}, to the same question"))
    return told


def _weigh(rows: Sequence[Facts], weight: float, seed: int, judged: Judged) -> None:
    """Give a source its weight.

    The rows come in an order that id and seed alone decide. The first of them get what the weight has beyond a whole
    number.
    """
    if weight == 1:
        return
    whole, part = int(weight), weight - int(weight)
    favoured = sorted(rows, key=lambda f: hashlib.blake2b(f"{seed} {f.id}".encode("utf-8", "replace")).digest())
    favoured = favoured[: round(part * len(rows))]
    chosen = {id(facts) for facts in favoured}
    for facts in rows:
        copies = whole + (id(facts) in chosen)
        if copies == 0:
            reason = f"weight = {weight:g} keeps {len(favoured):,} of the source's {len(rows):,} rows"
            judged.findings["weight"].append((facts, reason))
            facts.verdict = ("weight", reason)
        elif copies > 1:
            judged.copies[id(facts)] = copies


_AFTERWARDS: tuple[Finding, ...] = ("retried_call", "failed_call", "corrected_answer")

_BETWEEN_ROWS: dict[Finding, Callable[[Sequence[Facts]], list[tuple[Facts, str]]]] = {
    "swapped_result": _swapped,
    "cut_answer": _cut,
    "duplicate": _duplicates,
    "near_duplicate": _near,
    "contradiction": _contradictions,
}
