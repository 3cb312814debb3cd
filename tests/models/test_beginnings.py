"""What is learned of how answers begin, and what the probabilities of paths then say of behaviours."""

import random

import numpy as np
import pytest

from calltune.models.beginnings import learn
from calltune.types import BEHAVIORS

# 1 begins calls; 2 begins refusals and questions alike, and the token after it tells them apart.
ANSWERS = [
    *[((1, 9, 9), "tool_call")] * 4,
    *[((2, 5, 9), "cannot_answer")] * 3,
    *[((2, 6, 9), "request_for_info")] * 2,
    *[((3, 9), "direct")] * 2,
    ((3, 7), "cannot_answer"),
]


def paths(known):
    return {path.tokens: dict(path.counts) for path in known.paths}


def test_a_path_is_as_long_as_it_takes_to_tell_behaviours_apart() -> None:
    known = learn(ANSWERS)
    assert paths(known) == {
        (1,): {"tool_call": 4},
        (2, 5): {"cannot_answer": 3},
        (2, 6): {"request_for_info": 2},
        (3, 9): {"direct": 2},
        (3, 7): {"cannot_answer": 1},
    }
    assert (known.num_tokens, known.num_answers, known.num_left_out) == (2, 12, 0)


def test_the_end_at_which_most_is_undecided_is_lengthened_first() -> None:
    known = learn(ANSWERS, most_tokens=1)
    assert paths(known)[(3,)] == {"direct": 2, "cannot_answer": 1}
    assert (2, 5) in paths(known)
    assert known.num_tokens == 1
    assert set(paths(learn(ANSWERS, most_tokens=0))) == {(1,), (2,), (3,)}
    assert set(paths(learn(ANSWERS, depth=1))) == {(1,), (2,), (3,)}


def test_the_least_frequent_paths_are_left_out_and_counted() -> None:
    known = learn(ANSWERS, most_paths=2)
    assert set(paths(known)) == {(1,), (2, 5)}
    assert known.num_left_out == 5


def test_answers_in_any_order_give_the_same_and_no_path_begins_another() -> None:
    rng = random.Random(0)
    answers = [
        ((*(rng.randrange(4) for _ in range(rng.randrange(1, 12))), 99), rng.choice(BEHAVIORS)) for _ in range(400)
    ]
    known = learn(answers)
    assert known.num_tokens <= 16
    assert max(len(path.tokens) for path in known.paths) <= 8
    rng.shuffle(answers)
    assert learn(answers) == known
    every = [path.tokens for path in known.paths]
    assert not any(one != other and other[: len(one)] == one for one in every for other in every)
    assert sum(path.number for path in known.paths) == 400


def test_one_answer_inside_another_ends_there() -> None:
    assert paths(learn([((1,), "direct"), ((1, 2), "tool_call")])) == {(1,): {"direct": 1, "tool_call": 1}}


def test_paths_are_weighed_by_the_shares_of_behaviours_and_the_rest_is_told() -> None:
    known = learn(ANSWERS, most_tokens=1)
    chances = {(1,): 0.2, (2, 5): 0.1, (2, 6): 0.2, (3,): 0.3}
    weighed, outside = known.weigh(np.log([[chances[path.tokens] for path in known.paths]]))
    assert outside == pytest.approx([0.2])
    by_name = dict(zip(BEHAVIORS, weighed[0], strict=True))
    assert by_name == pytest.approx(
        {"tool_call": 0.25, "cannot_answer": 0.25, "request_for_info": 0.25, "direct": 0.25}
    )


def test_where_all_falls_outside_the_known_answers_speak() -> None:
    known = learn(ANSWERS)
    weighed, outside = known.weigh(np.full((1, 5), -2000.0))
    assert outside == pytest.approx([1])
    assert dict(zip(BEHAVIORS, weighed[0] * 12, strict=True)) == pytest.approx(
        {"tool_call": 4, "cannot_answer": 4, "request_for_info": 2, "direct": 2}
    )


@pytest.mark.parametrize("answers", [[], [((), "direct")]])
def test_nothing_to_learn_from(answers: list) -> None:
    with pytest.raises(ValueError, match="learned from answers"):
        learn(answers)
