from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_calls import BOOK, FIND, PLAY, RESERVE, WEATHER, call, log, row, tool, user

from calltune.calling.behavior import message_behavior
from calltune.calling.schema import call_problems
from calltune.config.data import DeriveConfig
from calltune.data.derive import derive
from calltune.data.derive.twins import twins
from calltune.data.derive.values import is_told
from calltune.types import Example, Message, Preference, Tool, ToolCall

ALL_OF_IT = DeriveConfig(cannot_answer=1, request_for_info=1, direct=1, other_tools=1, pairs=4, no_tools=0.3)


def made(rows: list[Example], settings: DeriveConfig = ALL_OF_IT, seed: int = 0) -> list[Example | Preference]:
    return list(derive(rows, settings, seed))


def examples(rows: list[Example | Preference], rule: str) -> list[Example]:
    return [found for found in rows if isinstance(found, Example) and found.rule == rule]


def the_call(message: Message) -> ToolCall:
    return message.tool_calls[0]


def composed(plain: Tool) -> Tool:
    """The same tool with its parameters behind a reference and in a branch of their own."""
    branch = {key: plain.parameters[key] for key in ("properties", "required")}
    return Tool(plain.name, plain.description, {"$defs": {"All": {"allOf": [branch]}}, "$ref": "#/$defs/All"})


def test_rows_are_made_through_the_branches_of_a_schema() -> None:
    rows = log()
    deep = [replace(one, tools=tuple(map(composed, one.tools))) for one in rows]
    found, expected = made(deep), made(rows)
    assert [(one.id, one.behavior, one.answers) for one in found] == [
        (one.id, one.behavior, one.answers) for one in expected
    ]
    assert {one.behavior for one in found} >= {"request_for_info", "cannot_answer"}


LOG = log()
PARENTS = {found.id: found for found in LOG}
MADE = made(LOG)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    number=st.integers(1, 20),
    shares=st.tuples(*[st.floats(0, 1) for _ in range(7)]),
    pairs=st.floats(0, 4),
)
def test_every_row_is_what_it_says(seed: int, number: int, shares: tuple[float, ...], pairs: float) -> None:
    names = ("cannot_answer", "request_for_info", "direct", "other_tools", "no_tools", "incomplete", "distractors")
    rows = log(number)
    found = made(rows, DeriveConfig(**dict(zip(names, shares, strict=True)), pairs=pairs), seed)
    parents = {parent.id: parent for parent in rows}
    assert len({derived.id for derived in found}) == len(found)
    for derived in found:
        parent = parents[derived.parent]
        assert derived.source == parent.source
        assert derived.id.startswith(f"{parent.id}~")
        assert derived.id.endswith(derived.rule)
        assert len({offered.name for offered in derived.tools}) == len(derived.tools)
        answer = derived.answers[0]
        assert message_behavior(answer) == derived.behavior
        assert not [problem for made_call in answer.tool_calls for problem in call_problems(made_call, derived.tools)]
        if isinstance(derived, Preference):
            assert derived.chosen != derived.rejected
            assert derived.prompt[-1].role == "user"


def test_a_refused_row_lacks_the_tool_and_its_twins() -> None:
    rows = examples(MADE, "cannot_answer")
    assert rows
    for derived in rows:
        target = PARENTS[derived.parent].messages[-1].tool_calls[0].name
        missing = next(tool for tool in PARENTS[derived.parent].tools if tool.name == target)
        assert target not in {tool.name for tool in derived.tools}
        assert not twins(missing, derived.tools, ALL_OF_IT.twin_similarity)


def test_a_twin_goes_with_the_tool() -> None:
    (derived,) = examples(
        made(
            [
                row(
                    "1",
                    user("A table in Rome for 2."),
                    call("book_table", city="Rome", people=2),
                    tools=(BOOK, RESERVE, WEATHER),
                )
            ]
        ),
        "cannot_answer",
    )
    assert {tool.name for tool in derived.tools} <= {"get_weather"}


def test_a_question_back_asks_for_what_is_not_told() -> None:
    rows = examples(MADE, "request_for_info")
    assert rows
    for derived in rows:
        arguments = the_call(PARENTS[derived.parent].messages[-1]).arguments
        text = derived.messages[0].content
        lost = [name for name, value in arguments.items() if not is_told(text, value)]
        assert len(lost) == 1
        said = derived.messages[-1].content.lower()
        assert {"city": "city", "people": "people", "title": "title"}[lost[0]] in said


def test_distractors_are_no_twins_of_the_target() -> None:
    others = [
        row(f"o{n}", user("Find one."), call("find_restaurants", city="Rome"), tools=(FIND, RESERVE)) for n in range(5)
    ]
    rows = made([*LOG, *others], DeriveConfig(distractors=1, other_tools=1))
    booked = [r for r in examples(rows, "other_tools") if the_call(r.messages[-1]).name == "book_table"]
    assert booked
    assert "reserve_restaurant_table" not in {tool.name for derived in booked for tool in derived.tools}
    assert "find_restaurants" in {tool.name for derived in booked for tool in derived.tools}


def test_the_same_again_and_in_parts() -> None:
    assert made(LOG) == MADE
    assert made(LOG, seed=1) != MADE
    # Nothing hangs on Python's own hash seed or on the order in which rules look at rows.
    assert made(list(LOG[::-1])) != MADE
    assert {derived.id for derived in made(list(LOG[::-1])) if derived.rule == "direct"} == {
        derived.id for derived in MADE if derived.rule == "direct"
    }


def test_examples_come_in_the_order_of_their_parents() -> None:
    order = [parent.id for parent in LOG]
    places = [order.index(derived.parent) for derived in MADE if isinstance(derived, Example)]
    assert places == sorted(places)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_shares(share: float) -> None:
    keys = {"cannot_answer": share, "direct": share, "other_tools": share, "request_for_info": 0.0, "pairs": share}
    found = Counter(type(r).__name__ if isinstance(r, Preference) else r.rule for r in made(LOG, DeriveConfig(**keys)))
    assert found["cannot_answer"] == found["direct"] == round(share * 12)
    assert found["request_for_info"] == 0
    # Without rows of a behaviour there are no pairs of it.
    assert found["Preference"] <= round(share * 12)


def test_what_was_made_and_why_not_is_counted() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    chain = row(
        "2",
        user("Weather in Rome?"),
        call("get_weather", city="Rome"),
        Message("tool", "rain"),
        call("play_song", title="Rain"),
    )
    talk = Example("3", "toy", (user("Hi"), Message("assistant", "Hello.")), (PLAY,), "direct")
    broken = row("4", user("Weather?"), call("get_weather", town="Rome"))
    list(derive([*LOG, chain, talk, broken], ALL_OF_IT, 0, counts))
    assert counts["rows", "deciding calls"] == 12
    assert counts["rows", "its call follows a tool's result"] == 1
    assert counts["rows", "calls no tool"] == 1
    assert counts["rows", "its call does not fit its tool"] == 1
    tried = sum(number for (rule, _), number in counts.items() if rule == "request_for_info")
    assert tried == 12


def test_calls_that_follow_one_another_are_left_alone() -> None:
    twice = row(
        "1",
        user("Weather in Rome?"),
        call("get_weather", city="Rome"),
        Message("tool", "rain"),
        user("And in Oslo?"),
        call("get_weather", city="Oslo"),
    )
    assert not examples(made([twice]), "cannot_answer")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            (user("Weather in Rome?"), Message("assistant", "In Rome?"), user("Yes, the weather, please.")),
            "tells the value",
        ),
        ((Message("system", "The user is in Rome."), user("What is the weather in Rome?")), "tells the value"),
        ((user("Rome"), Message("assistant", "Yes?"), user("What is the weather like?")), "no sentence"),
        ((user("What is the weather at my place?"),), "literally"),
        ((user("Rome"),), "no sentence"),
    ],
)
def test_a_value_told_elsewhere_is_not_missing(rows: tuple[Message, ...], reason: str) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    settings = DeriveConfig(request_for_info=1, cannot_answer=0, direct=0, other_tools=0, pairs=0)
    assert not list(derive([row("1", *rows, call("get_weather", city="Rome"))], settings, 0, counts))
    assert [what for (rule, what) in counts if rule == "request_for_info" and reason in what]


def test_an_earlier_message_is_cleaned_too() -> None:
    asked = row(
        "1",
        user("I plan a weekend in Rome."),
        Message("assistant", "Lovely. What can I do?"),
        user("Tell me the weather in Rome, please."),
        call("get_weather", city="Rome"),
    )
    (derived,) = examples(made([asked]), "request_for_info")
    assert [message.content for message in derived.messages[:-1]] == [
        "I plan a weekend.",
        "Lovely. What can I do?",
        "Tell me the weather, please.",
    ]


def test_another_possible_value_is_no_missing_one() -> None:
    rows = [
        row("1", user("What is the weather in Rome, I come from Oslo."), call("get_weather", city="Rome")),
        row("2", user("What is the weather in Oslo?"), call("get_weather", city="Oslo")),
    ]
    assert [derived.parent for derived in examples(made(rows), "request_for_info")] == ["2"]


def test_no_other_value_is_lost() -> None:
    counted = tool("book_table", "Book a table.", ("people",), people="integer", whom="string")
    asked = row(
        "1", user("Book a table for 2 guests."), call("book_table", people=2, whom="guests"), tools=(counted, PLAY)
    )
    counts: Counter[tuple[str, str]] = Counter()
    list(derive([asked], ALL_OF_IT, 0, counts))
    assert counts["request_for_info", "another argument's value went with it"] == 1


def test_a_default_is_never_asked_for() -> None:
    given = tool("get_weather", "Get the weather.", ("city",), city={"type": "string", "default": "Rome"})
    rows = [row("1", user("What is the weather in Rome?"), call("get_weather", city="Rome"), tools=(given, PLAY))]
    assert not examples(made(rows), "request_for_info")


def test_the_system_text_stays() -> None:
    rows = [
        row("1", Message("system", "Be brief."), user("What is the weather in Rome?"), call("get_weather", city="Rome"))
    ]
    found = made(rows)
    assert len(found) >= 4
    assert {derived.prompt[0].content for derived in found} == {"Be brief."}
    assert WEATHER in rows[0].tools
