from collections import Counter
from collections.abc import Callable

from toy_calls import call, log, row, user

from calltune.calling.behavior import message_behavior
from calltune.calling.schema import call_problems
from calltune.config.data import DeriveConfig
from calltune.data.derive import derive
from calltune.data.derive.values import same_value
from calltune.types import Example, Message, Preference, ToolCall

LOG = log()
PARENTS = {parent.id: parent for parent in LOG}


def pairs_of(rows: list[Example], settings: DeriveConfig) -> list[Preference]:
    return [made for made in derive(rows, settings, 0) if isinstance(made, Preference)]


PAIRS = pairs_of(LOG, DeriveConfig(cannot_answer=1, request_for_info=1, direct=1, other_tools=1, pairs=4))


def the_call(message: Message) -> ToolCall:
    return message.tool_calls[0]


def test_the_same_value_written_otherwise_is_not_altered() -> None:
    rows = [
        row(str(n), user("What is the weather like at home?"), call("get_weather", city=city))
        for n, city in enumerate(("Rome", "rome", "ROME ", "Rome, Italy"))
    ]
    assert not [pair for pair in pairs_of(rows, DeriveConfig(pairs=4)) if pair.rule == "altered_value"]


def wrong(rule: str, check: Callable[[Preference, Example], bool]) -> bool:
    pairs = [pair for pair in PAIRS if pair.rule == rule]
    return bool(pairs) and all(check(pair, PARENTS[pair.parent]) for pair in pairs)


def test_negatives_are_wrong_in_their_own_way() -> None:
    def names(pair: Preference) -> set[str]:
        return {offered.name for offered in pair.tools}

    assert wrong("wrong_tool", lambda p, e: the_call(p.rejected).name in names(p) - {the_call(p.chosen).name})
    assert wrong("wrong_tool", lambda p, e: not call_problems(the_call(p.rejected), p.tools))
    assert wrong("invented_tool", lambda p, e: the_call(p.rejected).name not in names(p))
    assert wrong("missing_argument", lambda p, e: bool(call_problems(the_call(p.rejected), p.tools)))
    assert wrong(
        "missing_argument", lambda p, e: the_call(p.rejected).arguments.items() < the_call(p.chosen).arguments.items()
    )
    assert wrong("altered_value", lambda p, e: not call_problems(the_call(p.rejected), p.tools))

    def one_value_differs(pair: Preference, parent: Example) -> bool:
        right, other = the_call(pair.chosen).arguments, the_call(pair.rejected).arguments
        changed = [name for name in right if not same_value(right[name], other[name])]
        return len(changed) == 1 and type(right[changed[0]]) is type(other[changed[0]])

    assert wrong("altered_value", one_value_differs)


def test_wrong_behaviours_are_those_they_are_named_after() -> None:
    kinds = {"called": "tool_call", "asked": "request_for_info", "refused": "cannot_answer", "made_up": "direct"}
    for kind, behavior in kinds.items():
        assert wrong(kind, lambda p, e, behavior=behavior: message_behavior(p.rejected) == behavior != p.behavior)


def test_confusions_come_equally_often() -> None:
    pairs = pairs_of(log(16), DeriveConfig(pairs=2, request_for_info=1))
    found = Counter((pair.behavior, pair.rule) for pair in pairs)
    confusions = [n for (_, rule), n in found.items() if rule in ("called", "asked", "refused", "made_up")]
    assert len(confusions) == 12
    assert max(confusions) - min(confusions) <= 1
