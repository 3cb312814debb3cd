"""What gives the right behaviour away without understanding the question: a model may learn that instead."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from calltune.data.doctor.facts import Facts

_OFTEN = 10
"""How many rows must offer a tool before one behaviour alone means anything."""


def label_leaks(rows: Sequence[Facts]) -> dict[str, Any]:
    """Return the tools that go with one behaviour only, and how far two rules come that understand nothing.

    `by_tools` takes for each row the behaviour that its tools go with in all other rows; `majority` takes the most
    frequent one. `option_rule` reads only the offered call of a pair (`calling.option_reading`) and says whether it is
    chosen; its `majority` is the share of the more frequent side. Shares are None where there is no row to judge.
    """
    rows = [facts for facts in rows if facts.verdict is None and facts.behavior]
    by_tool: dict[str, Counter[str]] = defaultdict(Counter)
    for facts in rows:
        for tool in {*facts.tools}:
            by_tool[tool][str(facts.behavior)] += 1
    often = {tool: counts for tool, counts in by_tool.items() if counts.total() >= _OFTEN}
    one_sided = {tool: counts for tool, counts in sorted(often.items()) if len(counts) == 1}
    offered = [facts for facts in rows if facts.tools]
    right = sum(_by_tools(facts, by_tool) == facts.behavior for facts in offered)
    behaviors = Counter(facts.behavior for facts in offered)
    pairs = [facts.option_rule for facts in rows if facts.option_rule is not None]
    chosen = sum(is_right for _, is_right in pairs)
    return {
        "tools_offered_often": len(often),
        "tools_with_one_behavior": {tool: next(iter(counts)) for tool, counts in one_sided.items()},
        "by_tools": right / len(offered) if offered else None,
        "majority": max(behaviors.values()) / len(offered) if offered else None,
        "option_rule": sum(says == is_right for says, is_right in pairs) / len(pairs) if pairs else None,
        "option_rule_majority": max(chosen, len(pairs) - chosen) / len(pairs) if pairs else None,
        "option_rule_pairs": len(pairs),
    }


def _by_tools(facts: Facts, by_tool: dict[str, Counter[str]]) -> str | None:
    votes = Counter[str]()
    for tool in {*facts.tools}:
        votes.update(by_tool[tool])
    votes[str(facts.behavior)] -= len({*facts.tools})
    # Equal votes are decided by name, so that the order of rows decides nothing.
    return min(votes, key=lambda behavior: (-votes[behavior], behavior)) if votes.total() else None
