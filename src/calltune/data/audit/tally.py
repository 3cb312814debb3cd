"""What all rows are together: counts, findings, and what of it could be trained on."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from calltune.config.data import REJECTED
from calltune.data.audit.personal import PERSONAL, masked
from calltune.data.audit.seen import Seen
from calltune.data.doctor import ALWAYS_REJECTED, Finding
from calltune.data.doctor.facts import Facts
from calltune.data.doctor.leaks import label_leaks
from calltune.data.doctor.tell import WORDS
from calltune.data.doctor.verdicts import Judged, judge
from calltune.types import BEHAVIORS

_KINDS = {"example": "answers", "preference": "pairs"}


class Tally:
    """Counts rows as they come, and keeps of each what they are judged beside each other by."""

    def __init__(self) -> None:
        self._facts: list[Facts] = []
        self._decides: list[bool] = []
        self._called, self._broken = Counter[str](), Counter[str]()
        self._faults: dict[str, Counter[str]] = defaultdict(Counter)
        self._unknown: dict[str, Counter[str]] = defaultdict(Counter)
        self._personal: dict[str, set[bytes]] = {kind: set() for kind in PERSONAL}
        self._rows_with: dict[str, set[str]] = {kind: set() for kind in PERSONAL}

    def add(self, seen: Seen) -> None:
        """Count a row."""
        self._facts.append(seen.facts)
        self._decides.append(seen.decides)
        self._called.update(seen.facts.called)
        for tool in {tool for _, tool, _ in seen.facts.faults}:
            self._broken[tool] += 1
        for kind, tool, argument in seen.facts.faults:
            self._faults[kind][tool] += 1
            if kind == "unknown_argument":
                self._unknown[tool][argument] += 1
        for kind, digest in seen.personal:
            self._personal[kind].add(digest)
            self._rows_with[kind].add(place_of(seen.facts.id))

    @property
    def num_rows(self) -> int:
        """How many rows were counted."""
        return len(self._facts)

    def told(self) -> dict[str, Any]:
        """Return all that is told of the rows, as JSON has it."""
        judged = judge(self._facts, REJECTED, {})
        kept = [facts for facts in self._facts if facts.verdict is None]
        leaks = label_leaks(self._facts)
        return {
            "rows": len({place_of(facts.id) for facts in self._facts}),
            "conversations": len({facts.question for facts in self._facts if facts.kind != "unread"}),
            **{name: sum(facts.kind == kind for facts in self._facts) for kind, name in _KINDS.items()},
            "unread": sum(facts.kind == "unread" for facts in self._facts),
            "behaviors": {name: _behaviors(self._facts, kept, kind) for kind, name in _KINDS.items()},
            "tools": self._tools(),
            "broken_calls": {kind: tools.total() for kind, tools in _sorted(self._faults)},
            "unread_because": _reasons(judged.findings.get("broken", [])),
            "findings": _findings(judged, len(self._facts)),
            "leaks": leaks,
            "personal": {
                kind: {"values": len(values), "rows": len(self._rows_with[kind])}
                for kind, values in self._personal.items()
                if values
            },
            "trainable": {
                **{name: sum(facts.kind == kind for facts in kept) for kind, name in _KINDS.items()},
                "deciding_calls": sum(
                    decides and facts.verdict is None for facts, decides in zip(self._facts, self._decides, strict=True)
                ),
                "left_out": dict(Counter(facts.verdict[0] for facts in self._facts if facts.verdict).most_common()),
            },
        }

    def _tools(self) -> list[dict[str, Any]]:
        offered = Counter(tool for facts in self._facts for tool in {*facts.tools})
        names = sorted({*offered, *self._called}, key=lambda name: (-self._called[name], -offered[name], name))
        return [
            {
                "name": name,
                "offered": offered[name],
                "called": self._called[name],
                "broken": self._broken[name],
                "unknown_arguments": dict(self._unknown[name].most_common()) if name in self._unknown else {},
            }
            for name in names
        ]


def place_of(row_id: str) -> str:
    """Return the place of the row of a file that an answer stands in: its id without the answer's number."""
    return re.sub(r"#\d+$", "", row_id)


def _behaviors(rows: Sequence[Facts], kept: Sequence[Facts], kind: str) -> dict[str, dict[str, int]]:
    found, left = (Counter(facts.behavior for facts in part if facts.kind == kind) for part in (rows, kept))
    return {behavior: {"found": found[behavior], "trainable": left[behavior]} for behavior in BEHAVIORS}


def _sorted(faults: Mapping[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    return sorted(faults.items(), key=lambda item: (-item[1].total(), item[0]))


def _findings(judged: Judged, num_rows: int) -> dict[str, dict[str, Any]]:
    return {
        finding: {
            "words": WORDS[finding],
            "rejected": finding in (*REJECTED, *ALWAYS_REJECTED),
            "rows": len(told),
            "share": len(told) / num_rows,
            "first": {"id": told[0][0].id, "reason": masked(told[0][1])},
        }
        for finding in get_args(Finding)
        if (told := judged.findings.get(finding))
    }


def _reasons(told: Iterable[tuple[Facts, str]]) -> list[dict[str, Any]]:
    """Return why rows cannot be read, the most frequent reasons first, each with its first row.

    Reasons that differ in places, numbers and names alone are one.
    """
    counts, first = Counter[str](), dict[str, tuple[str, str]]()
    for facts, reason in told:
        alike = re.sub(r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"|\d+", "*", reason)
        counts[alike] += 1
        first.setdefault(alike, (facts.id, masked(reason)))
    return [{"rows": count, "id": first[key][0], "reason": first[key][1]} for key, count in counts.most_common(10)]
