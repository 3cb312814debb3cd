import random
import re
from collections import Counter

import pytest
from toy_calls import ALL, BOOK, SEND, tool

from calltune.calling.behavior import text_behavior
from calltune.data.derive.phrases import ability, options, plain_name, thing
from calltune.data.derive.wordings import bare_refusal, claim, question, refusal


@pytest.mark.parametrize(
    ("name", "description", "phrase"),
    [
        ("x", "Get the weather for a specified city.", "get the weather for a city"),
        ("x", "Retrieves the orders of the user's account, if any.", "retrieve the orders of your account, if any"),
        ("x", "This tool allows you to search for books (e.g. novels) by title.", "search for books by title"),
        ("x", "Shows the menu to the customer.", "show the menu to you"),
        ("x", "Fetches and returns a specific article using the provided id.", "fetch and return an article"),
        ("send_mail", "", "send the mail"),
        ("getUserInfo", "User info service", "get the user info"),
        ("turn_on_light", "", "turn on light"),
        ("list_invoices", "The latest invoices of a number.", "list the latest invoices of a number"),
        ("check_coverage", "How good the signal is at a place.", "tell you how good the signal is at a place"),
        ("is_in_stock", "Whether an article is in stock", "tell you whether an article is in stock"),
        ("get_pdf", "Returns the URL of the invoice", "get the URL of the invoice"),
        ("escalate", "Hands over to a colleague when the customer asks for it.", "hand over to a colleague"),
        ("weather", "A weather service", ""),
    ],
)
def test_what_a_tool_does(name: str, description: str, phrase: str) -> None:
    assert ability(tool(name, description)) == phrase


@pytest.mark.parametrize(
    ("name", "description", "phrase"),
    [
        ("city", "Name of the city (e.g. Paris)", "the name of the city"),
        ("date", "The start date in the format YYYY-MM-DD", "the start date"),
        ("CustomerName", "Customer Name", "the customer name"),
        ("pickup_date", "Specify when to pick up", "the pickup date"),
        ("userId", "", "the user ID"),
        ("query", "query", ""),
        ("XqNkc8h6YR", "", ""),
        ("XqNkc8h6YR", "The number of results to return.", "the number of results to return"),
        ("phone", "The Brightline number", "the Brightline number"),
        ("reason", "Why the customer sends it back", "the reason"),
        ("since", "", "since when"),
        ("sku", "", "the SKU"),
    ],
)
def test_what_a_parameter_is(name: str, description: str, phrase: str) -> None:
    assert (thing(name, {"description": description}) or plain_name(name)) == phrase


@pytest.mark.parametrize("held_out", [False, True])
def test_many_wordings_each_of_its_behavior(held_out: bool) -> None:
    rng = random.Random(0)
    for make, behavior in (
        (lambda: refusal(BOOK, rng, held_out=held_out), "cannot_answer"),
        (lambda: question(BOOK, "city", rng, held_out=held_out), "request_for_info"),
        (lambda: claim(BOOK, rng, held_out=held_out), "direct"),
        (lambda: bare_refusal(rng, held_out=held_out), "cannot_answer"),
    ):
        texts = [message.content for message in (make() for _ in range(400)) if message]
        assert len(texts) == 400
        assert {text_behavior(text) for text in texts} == {behavior}
        assert len(set(texts)) > 40
        # No beginning gives the behaviour away.
        assert Counter(" ".join(text.split()[:2]) for text in texts).most_common(1)[0][1] < 140
        assert all(text[0].isupper() and "{" not in text for text in texts)


def test_they_name_what_is_missing() -> None:
    rng = random.Random(0)
    assert all("book a table at a restaurant" in refusal(BOOK, rng).content.lower() for _ in range(50))
    assert all("city" in question(BOOK, "city", rng).content for _ in range(50))
    assert any("Ann, Bob or Cid" in question(SEND, "person", rng).content for _ in range(50))
    assert options({"enum": list(range(9))}) == []
    assert options({"enum": ["changed_mind", "wrong-item", "a4"]}) == ["changed mind", "wrong item", "a4"]


@pytest.mark.parametrize(
    ("name", "kind", "phrase"),
    [
        ("enabled", "boolean", "whether it should be enabled"),
        ("is_active", "boolean", "whether it is active"),
        ("include_tax", "boolean", "whether to include tax"),
        ("express", "boolean", "whether you want it express"),
        ("guests", "integer", "the number of guests"),
        ("number_of_guests", "integer", "the number of guests"),
        ("address", "string", "the address"),
    ],
)
def test_what_a_parameter_of_a_type_is(name: str, kind: str, phrase: str) -> None:
    assert thing(name, {"type": kind}) == plain_name(name, {"type": kind}) == phrase
    asked = tool("order", "Order a taxi.", (name,), **{name: kind})
    texts = {question(asked, name, random.Random(n)).content for n in range(30)}
    assert all(phrase in text for text in texts)
    # A clause stands behind "tell me" and the like alone.
    assert phrase.startswith("the ") or not any(re.search(r"need whether|give me whether|is whether", t) for t in texts)


def test_no_wording_where_the_description_would_turn_it_round() -> None:
    stubborn = tool("get_excuse", "Get a reason why you can't come, please tell me.", ("day",), day="string")
    assert claim(stubborn, random.Random(0)) is None


def test_every_tool_can_be_spoken_of() -> None:
    nameless = tool("zzz", "")
    for offered in (*ALL, nameless):
        assert refusal(offered, random.Random(0))
        assert claim(offered, random.Random(0))
