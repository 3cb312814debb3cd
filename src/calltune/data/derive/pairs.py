"""Pairs by quota: every right behaviour meets every wrong one equally often, and calls meet wrong calls."""

from collections import Counter
from collections.abc import Iterator, Sequence

from calltune.data.derive.negatives import BEHAVIOR_NEGATIVES, CALL_NEGATIVES
from calltune.data.derive.rules import Derived, Workshop
from calltune.data.randomness import unit_interval
from calltune.types import BEHAVIORS, Behavior, Preference

Counts = Counter[tuple[str, str]]

_OWN_KIND: dict[Behavior, str] = {
    "tool_call": "called",
    "request_for_info": "asked",
    "cannot_answer": "refused",
    "direct": "made_up",
}


def pairs(made: Sequence[Derived], number: int, shop: Workshop, counts: Counts) -> Iterator[Preference]:
    """Yield as many pairs as are wanted, as far as there are rows for them. No row has two pairs of one kind."""
    for (behavior, kind), wanted in quotas(number, shop.settings.call_pairs).items():
        negative = BEHAVIOR_NEGATIVES.get(kind) or CALL_NEGATIVES[kind]
        rows = [row for row in made if row.row.behavior == behavior]
        rows.sort(key=lambda row: unit_interval(shop.seed, "pair", kind, row.row.id))
        num_made = 0
        for row in rows:
            if num_made == wanted:
                break
            rejected = negative(row, shop, shop.chance(f"{kind} {row.row.id}", row.case))
            if rejected is None:
                counts[f"pair: {kind}", "no such wrong answer can be made"] += 1
                continue
            num_made += 1
            yield Preference(
                id=f"{row.row.id}~{kind}",
                source=row.row.source,
                prompt=row.row.prompt,
                tools=row.row.tools,
                chosen=row.row.answers[0],
                rejected=rejected,
                behavior=behavior,
                parent=row.case.row.id,
                rule=kind,
            )
        counts[f"pair: {kind}", "made"] += num_made
        if num_made < wanted:
            counts[f"pair: {kind}", f"not enough {behavior} rows"] += wanted - num_made


def quotas(number: int, call_pairs: float) -> dict[tuple[Behavior, str], int]:
    """Return how many pairs each right behaviour gets with each kind of wrong answer; they add up to `number`."""
    confusions: list[tuple[Behavior, str]] = [
        (behavior, kind) for kind in BEHAVIOR_NEGATIVES for behavior in BEHAVIORS if kind != _OWN_KIND[behavior]
    ]
    calls: list[tuple[Behavior, str]] = [("tool_call", kind) for kind in CALL_NEGATIVES]
    num_calls = round(number * call_pairs)
    return {**_spread(number - num_calls, confusions), **_spread(num_calls, calls)}


def _spread(number: int, kinds: list[tuple[Behavior, str]]) -> dict[tuple[Behavior, str], int]:
    return {kind: number // len(kinds) + (place < number % len(kinds)) for place, kind in enumerate(kinds)}
