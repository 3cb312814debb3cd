from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calltune.data.derive.values import forms, is_told, same_value, spans


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("for 2 people", 2, ["2"]),
        ("for two people", "2", ["two"]),
        ("twenty-one or twenty one or 21", 21, ["twenty-one", "twenty one", "21"]),
        ("pay 1,500 now", 1500, ["1,500"]),
        ("at 5pm", "17:00", ["5pm"]),
        ("at 5 p.m. or at five o'clock", "17:00", ["5 p.m.", "five o'clock"]),
        ("half past eleven", "11:30", ["half past eleven"]),
        ("on March 1st, 2019", "2019-03-01", ["March 1st, 2019"]),
        ("the 1st of march", "2019-03-01", ["1st of march"]),
        ("in NEW  york", "New York", ["NEW  york"]),
        ("two Macchiatos", "Macchiato", ["Macchiatos"]),
        ("my_list is my list", "my_list", ["my_list", "my list"]),
        ("the id 'A-1'", "A-1", ["A-1"]),
        ("one in a list", ["list"], ["list"]),
    ],
)
def test_a_value_is_found_as_people_write_it(text: str, value: Any, found: list[str]) -> None:
    assert [text[start:end] for start, end in spans(text, value)] == found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("in 2.5 hours", 2),
        ("2% milk", 2),
        ("12 or 2-5", 2),
        ("no stone", "one"),
        ("pre-Paris", "Paris"),
        ("true", True),
        ("a b", ["a", "b"]),
        ("None", None),
    ],
)
def test_it_is_not_found_inside_another(text: str, value: Any) -> None:
    assert not spans(text, value)


def test_a_part_that_tells_the_value_is_told() -> None:
    assert is_told("a latte, please", "matcha latte")
    assert is_told("in march", "first week of March")
    assert not is_told("a tea, please", "matcha latte")


def test_equal_for_a_reader() -> None:
    assert same_value("2", 2)
    assert same_value(2, 2.0)
    assert same_value("Paris ", "paris")
    assert not same_value(True, 1)
    assert not same_value("2", 3)
    assert same_value([1], [1])


@given(st.text(alphabet="abcXYZ 019", min_size=1).map(str.strip).filter(bool))
def test_a_value_between_other_words_is_always_found(value: str) -> None:
    assert forms(value)
    assert spans(f"please {value} now", value)
