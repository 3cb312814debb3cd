"""Which rows are made, how many, and in which order."""

from collections import Counter
from collections.abc import Iterator, Sequence

from calltune.config.data import DeriveConfig
from calltune.data.derive.material import Deciding, Material, why_not_deciding
from calltune.data.derive.missing import NOT_LITERAL, NOT_READABLE
from calltune.data.derive.pairs import Counts, pairs
from calltune.data.derive.rewriting import can_be_asked, rewritten
from calltune.data.derive.rules import RULES, Derived, Workshop, asking
from calltune.data.randomness import unit_interval
from calltune.models.endpoint import Endpoint
from calltune.types import Example, Preference

Row = Example | Preference


def derive(
    rows: Sequence[Row], settings: DeriveConfig, seed: int, counts: Counts | None = None
) -> Iterator[Example | Preference]:
    """Examples in the order of their parents, then pairs; the same for the same rows, settings and seed.

    Args:
        counts: takes, by rule, how many rows were made, and for each reason how many could not be.

    Raises:
        ModelError: the model of `[data.derive.model]` refuses every request.
        ConfigError: its key's variable is not set.
    """
    counts = Counter() if counts is None else counts
    for row in rows:
        why_not = why_not_deciding(row)
        counts["rows", why_not or "deciding calls"] += 1
    shop = Workshop(settings, seed, Material(rows))
    made = make(shop, counts)
    yield from (derived.row for derived in made)
    originals = [Derived(case.row, case) for case in shop.material.deciding]
    number = round(settings.pairs * len(originals))
    yield from pairs([*originals, *made], number, shop, counts)


def make(shop: Workshop, counts: Counts) -> list[Derived]:
    """The derived examples, in the order of their parents and of the rules."""
    cases = shop.material.deciding
    made: list[tuple[int, int, Derived]] = []
    places = {id(case): place for place, case in enumerate(cases)}
    for turn, (name, rule) in enumerate(RULES.items()):
        wanted = round(getattr(shop.settings, name) * len(cases))
        tried = sorted(cases, key=lambda case: unit_interval(shop.seed, name, case.row.id))
        done: list[Derived] = []
        left: list[Deciding] = []
        for case in tried:
            if len(done) == wanted:
                break
            found = rule(case, shop)
            if isinstance(found, Derived):
                done.append(found)
            elif shop.settings.model and found in (NOT_LITERAL, NOT_READABLE) and can_be_asked(case):
                left.append(case)
            else:
                counts[name, found] += 1
        if left:
            done += _by_model(left, wanted - len(done), shop, counts)
        counts[name, "made"] += len(done)
        made += [(places[id(derived.case)], turn, derived) for derived in done]
    return [derived for _, _, derived in sorted(made, key=lambda entry: entry[:2])]


def _by_model(cases: list[Deciding], wanted: int, shop: Workshop, counts: Counts) -> list[Derived]:
    """Rows whose value a model took out, asked in rounds of as many as are still wanted."""
    done: list[Derived] = []
    settings = shop.settings.model
    # One for all rounds: it counts the requests that the budget allows.
    endpoint = Endpoint(settings) if settings else None
    while cases and len(done) < wanted and settings and endpoint:
        now, cases = cases[: wanted - len(done)], cases[wanted - len(done) :]
        for case, result in zip(now, rewritten(now, endpoint, settings, shop.material), strict=True):
            found = result if isinstance(result, str) else asking(case, *result, shop)
            if isinstance(found, Derived):
                done.append(found)
                counts["request_for_info", "of these by the model"] += 1
            else:
                counts["request_for_info", found] += 1
    return done
