import pytest
from hypothesis import given
from hypothesis import strategies as st

from calltune.data.derive.removal import without
from calltune.data.derive.values import spans
from calltune.data.derive.vocabulary import content_words, word_list

VOCABULARY = content_words("find movies weather play song book table restaurant playlist account")


@pytest.mark.parametrize(
    ("text", "value", "left"),
    [
        ("Find a hotel in Paris.", "Paris", "Find a hotel."),
        ("Book a table for two people in Rome.", 2, "Book a table in Rome."),
        ("Book a table for 5 people", "5", "Book a table"),
        ("What is the weather on March 1st?", "2019-03-01", "What is the weather?"),
        ("Book it at 5pm, please.", "17:00", "Book it, please."),
        ("In Paris, find me a hotel.", "Paris", "Find me a hotel."),
        ("Play Yesterday.", "yesterday", "Play something."),
        ("I'd like a latte with milk.", "latte", "I'd like something with milk."),
        ("Find some drama movies.", "drama", "Find some movies."),
        ("Get an old restaurant.", "old", "Get a restaurant."),
        ("Get two lattes to go", "2", "Get some lattes to go"),
        ("Find a book called 'Dune'.", "Dune", "Find a book."),
        ("Show the order with the id 12.", 12, "Show the order."),
        ("Cancel my booking number B12.", "B12", "Cancel my booking."),
        ("What is on my account number 12?", 12, "What is on my account?"),
        ("Book a flight. My name is Max.", "Max", "Book a flight."),
        ("I pay $500 for it.", 500, None),
        (
            "The network is dead. It began at 16:23. Please hurry now.",
            "16:23",
            "The network is dead. Please hurry now.",
        ),
        ("Take care of the bill. I pay by card.", "card", "Take care of the bill."),
        ("I see. It began at 16:23 on the hill.", "16:23", "I see. It began on the hill."),
        ("It began at 16:23.", "16:23", None),
        ("Tell me about the song Halo", "Halo", "Tell me about a song"),
        ("I am looking for Dune.", "Dune", "I am looking for something."),
        ("From Paris, and then back to Paris please", "Paris", None),
    ],
)
def test_the_sentence_stays_one(text: str, value: object, left: str | None) -> None:
    assert without(text, value, VOCABULARY) == left


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Find a hotel in Paris, France.", "Paris"),
        ("I live in Paris.", "Paris"),
        ("I want to fly between Rome and Oslo.", "Rome"),
        ("Rates for USD, EUR, and GBP", "USD"),
        ("Fly from Rome and Oslo", "Rome"),
        ("Paris", "Paris"),
        ("Paris of this month", "Paris"),
        ("It is associated with Rome", "Rome"),
        ("I want a decaf mocha", "mocha"),
        ("Show New York City movies", "New York"),
        ("Give one / 6 points", "one"),
        ("Say it 5 times", 5),
    ],
)
def test_what_would_leave_a_hole_is_left_alone(text: str, value: object) -> None:
    assert without(text, value, VOCABULARY) is None


WORDS = st.sampled_from(word_list("find me a the in for with play Paris 12 two movies please and , . Yesterday is my"))


@given(st.lists(WORDS, min_size=1, max_size=12), st.sampled_from(["Paris", "12", 2, "Yesterday"]))
def test_what_is_left_lacks_the_value(words: list[str], value: object) -> None:
    text = " ".join(words).replace(" ,", ",").replace(" .", ".")
    left = without(text, value, VOCABULARY)
    if left is not None:
        assert not spans(left, value)
        assert "  " not in left
        assert left == left.strip()
        # Nothing is made up but the word that holds the place.
        assert set(left.lower().replace(",", " ").replace(".", " ").split()) <= {
            *text.lower().replace(",", " ").replace(".", " ").split(),
            *("something", "some", "a", "an"),
        }
