from collections import Counter

from toy_calls import BOOK, call, user

from calltune.mining.pairing import Candidate, balanced, candidates, drop_near_duplicates, preference
from calltune.mining.questions import Question
from calltune.mining.verifying import MinedError, Verdict
from calltune.types import Behavior, Completion, Message, Sample

RIGHT = Verdict("right")


def question(name: str = "q", behavior: Behavior = "cannot_answer", gold: str = "I can't book tables.") -> Question:
    sample = Sample(name, "mine", (user(f"Please book number {name}."),), (BOOK,), behavior)
    return Question(sample, Message("assistant", gold), behavior)


def said(text: str) -> Completion:
    return Completion("q", Message("assistant", text), text, "ok")


def wrong(error: MinedError) -> Verdict:
    return Verdict("wrong", error, f"it is {error}")


def as_it_is(question: Question, completion: Completion) -> Message | None:
    return completion.message


def test_the_chosen_is_the_right_answer_nearest_to_the_known_one() -> None:
    judged = [
        (said("No, that's not possible."), RIGHT),
        (said("I can't book the tables."), RIGHT),
        (said("Done."), wrong("wrong_behavior")),
    ]
    (one,) = candidates(question(), judged, "own", as_it_is, Counter())
    assert (one.chosen.content, one.is_own) == ("I can't book the tables.", True)
    (one,) = candidates(question(), judged, "gold", as_it_is, Counter())
    assert (one.chosen.content, one.is_own) == ("I can't book tables.", False)
    (one,) = candidates(question(), judged[2:], "own", as_it_is, Counter())
    assert (one.chosen.content, one.is_own) == ("I can't book tables.", False)


def test_what_a_direct_answer_says_is_not_verified_so_the_known_one_is_chosen() -> None:
    asked = question(behavior="direct", gold="It is Paris.")
    judged = [(said("It is Rome."), RIGHT), (said("I can't."), wrong("wrong_behavior"))]
    (one,) = candidates(asked, judged, "own", as_it_is, Counter())
    assert (one.chosen.content, one.is_own) == ("It is Paris.", False)


def test_one_pair_for_each_kind_of_mistake_the_most_frequent_one() -> None:
    judged = [
        (said("Booked."), wrong("wrong_behavior")),
        (said("Done."), wrong("wrong_behavior")),
        (said("Done."), wrong("wrong_behavior")),
        (Completion("q", None, "<tool_call>", "malformed"), wrong("malformed")),
        (Completion("q", None, "And so", "truncated"), wrong("truncated")),
        (said("Perhaps."), Verdict("undecided")),
    ]
    dropped = Counter[str]()
    found = candidates(question(), judged, "own", as_it_is, dropped)
    assert [(one.error, one.rejected.content) for one in found] == [("wrong_behavior", "Done.")]
    assert dropped == {"cut off": 1, "cannot be written by the template": 1}


def test_answers_that_are_all_right_give_no_pair() -> None:
    assert candidates(question(), [(said("I can't."), RIGHT)], "own", as_it_is, Counter()) == []


def mistake(number: int, error: MinedError, behavior: Behavior = "cannot_answer") -> Candidate:
    asked = question(f"{error} {number}", behavior)
    return Candidate(asked, asked.gold, Message("assistant", f"Done {number}."), error, "why", is_own=False)


def test_every_kind_has_the_same_quota_and_what_one_lacks_goes_to_the_others() -> None:
    found = [mistake(n, "wrong_behavior") for n in range(9)] + [mistake(n, "malformed") for n in range(2)]
    found += [mistake(n, "malformed", "direct") for n in range(9)]
    counts = Counter(one.cell for one in balanced(found, 10))
    assert counts == {"cannot_answer: malformed": 2, "cannot_answer: wrong_behavior": 4, "direct: malformed": 4}
    assert len(balanced(found, 100)) == 20
    assert len(balanced(found, 4)) == 4


def test_calls_win_as_often_as_they_lose_where_that_is_asked_for() -> None:
    found = [mistake(n, "needless_call") for n in range(9)] + [mistake(n, "missed_call", "tool_call") for n in range(3)]
    found += [mistake(n, "wrong_value", "tool_call") for n in range(5)]
    assert Counter(one.error for one in balanced(found, 12)) == {"needless_call": 5, "missed_call": 3, "wrong_value": 4}
    even = balanced(found, 12, even_calls=True)
    assert Counter(one.error for one in even) == {"needless_call": 3, "missed_call": 3, "wrong_value": 5}
    assert [one.error for one in balanced(found, 2, even_calls=True)] == ["wrong_value", "wrong_value"]


def test_near_duplicates_are_dropped_and_counted() -> None:
    long = " ".join(f"word{n}" for n in range(60))
    texts = [long, f"{long} more", "Something else altogether, said in other words."]
    found = [
        Candidate(question("q"), question().gold, Message("assistant", text), "wrong_behavior", "", is_own=False)
        for text in texts
    ]
    dropped = Counter[str]()
    assert drop_near_duplicates(found, dropped) == [found[0], found[2]]
    assert dropped == {"nearly the same as another": 1}


def test_a_pair_names_its_question_and_its_mistake() -> None:
    one = mistake(3, "malformed")
    pair = preference(one, 7)
    assert (pair.id, pair.parent, pair.rule, pair.behavior) == (
        "mined-7",
        one.question.id,
        "malformed",
        "cannot_answer",
    )
    assert (pair.chosen, pair.rejected) == (one.chosen, one.rejected)


def test_a_call_exactly_as_known_is_nearer_than_one_that_only_counts_as_right() -> None:
    gold = call("book_table", city="Paris", people=2)
    asked = Question(question().sample, gold, "tool_call")
    other = call("book_table", city="paris", people=2)
    judged = [(Completion("q", m, str(m), "ok"), RIGHT) for m in (other, other, gold)]
    judged.append((said("No."), wrong("missed_call")))
    (one,) = candidates(asked, judged, "own", as_it_is, Counter())
    assert (one.chosen, one.is_own) == (gold, True)
