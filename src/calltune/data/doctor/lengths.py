"""How long rows are once the model's template has written them, and what a limit would cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from calltune.data.doctor.facts import Facts
from calltune.data.doctor.mix import KIND_OF_STAGE


def token_lengths(rows: Sequence[Facts], max_lengths: Mapping[str, int | None]) -> dict[str, Any]:
    """Return by stage: tokens in all, tokens trained on, the longest row, and the rows over the stage's `max_length`.

    A row's length is that of its prompt and its longest answer. `calls_too_long` are those of `too_long` that hold a
    call. Cut at the limit, as trainers do, such a row would teach half of a call; calltune leaves it out whole.
    """
    by_stage = {}
    for stage, kind in KIND_OF_STAGE.items():
        ours = [facts for facts in rows if facts.kind == kind and facts.verdict is None]
        if not ours:
            continue
        length = {id(facts): facts.tokens[0] + max(facts.tokens[1:]) for facts in ours}
        ordered = sorted(length.values())
        limit = max_lengths[stage]
        over = [facts for facts in ours if limit is not None and length[id(facts)] > limit]
        trained = sum(sum(facts.tokens[1:]) for facts in ours)
        by_stage[stage] = {
            "rows": len(ours),
            "tokens": trained + sum(facts.tokens[0] * len(facts.tokens[1:]) for facts in ours),
            "tokens_trained_on": trained,
            "median": ordered[len(ordered) // 2],
            "longest": ordered[-1],
            "max_length": limit,
            "too_long": [facts.id for facts in over],
            "calls_too_long": [facts.id for facts in over if facts.has_call],
        }
    return by_stage
