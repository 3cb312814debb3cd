from toy_calls import BOOK, WEATHER, call, user

from calltune.mining.questions import questions
from calltune.types import Behavior, Example, Message, Preference, Tool

PARIS, ROME = call("book_table", city="Paris", people=2), call("book_table", city="Rome", people=2)


def example(row_id: str, text: str, answer: Message, behavior: Behavior, tools: tuple[Tool, ...] = (BOOK,)) -> Example:
    return Example(row_id, "toy", (user(text), answer), tools, behavior)


def test_each_prompt_once_and_contradictions_listed() -> None:
    refusal = Message("assistant", "I can't.")
    rows = [
        example("a", "Book.", PARIS, "tool_call"),
        example("b", "Book.", PARIS, "tool_call"),
        example("c", "Book.", refusal, "cannot_answer", tools=(WEATHER,)),
        example("d", "Book now.", PARIS, "tool_call"),
        example("e", "Sing.", refusal, "cannot_answer"),
        example("f", "Sing.", Message("assistant", "I am not able to."), "cannot_answer"),
    ]
    pair = Preference("p", "toy", (user("Book now."),), (BOOK,), ROME, PARIS, "tool_call")
    kept, contradicting = questions(rows, [pair])
    assert [question.id for question in kept] == ["a", "c", "e"]
    assert contradicting == ["d"]
    assert kept[0].gold == PARIS


def test_a_name_that_two_rows_share_becomes_two() -> None:
    kept, _ = questions([example("a", text, PARIS, "tool_call") for text in ("One.", "Two.")], [])
    assert kept[0].id == "a"
    assert kept[1].id.startswith("a~")
