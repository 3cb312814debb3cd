"""A detail's stand-in is of the same kind and the same everywhere, and a call still fits its tool."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import phonenumbers
import pytest
from personal import DETAILS, PATTERNS, said

from calltune.calling.edits import Change
from calltune.calling.schema import call_problems
from calltune.config.redact import RedactConfig
from calltune.data.doctor.noise import noise
from calltune.data.redact.rows import Redaction
from calltune.errors import ConfigError, DataError
from calltune.types import Example, Message, Preference, Rejected, Tool, ToolCall


def redaction(seed: int = 0, **keys: Any) -> Redaction:
    return Redaction(RedactConfig(patterns=PATTERNS, **keys), seed)


@pytest.fixture(scope="module")
def plain() -> Redaction:
    return redaction()


def tool(**properties: Any) -> Tool:
    return Tool("send", "", {"type": "object", "properties": properties})


def example(question: str, arguments: dict[str, Any], result: str = "", offered: Tool | None = None) -> Example:
    messages = [Message("user", question), Message("assistant", "", (ToolCall("send", arguments),))]
    messages += [Message("tool", result), Message("assistant", "Done.")] if result else []
    return Example("own.jsonl:1#1", "own", tuple(messages), (offered or tool(),), "tool_call")


def only(plain: Redaction, row: Any, path: str = "own.jsonl") -> Any:
    (new,) = plain.rows([row], lambda *_: None, path)
    return new


def test_every_kind_is_recognised_again_as_what_it_was(plain: Redaction) -> None:
    """A stand-in has its kind's form and checksum: what looks for details takes it for one, of the same kind."""
    for detail in DETAILS:
        kind = set(redacted_kinds(said(detail)))
        new = plain.text(said(detail))
        assert detail not in new
        assert set(redacted_kinds(new)) == kind or kind == {"crypto"}, (detail, new)


def redacted_kinds(text: str) -> Iterator[str]:
    fresh = redaction()
    list(fresh.rows([Rejected("1", "own", "", text)], lambda *_: None))
    yield from fresh.told()


def test_one_value_has_one_stand_in_however_it_is_written(plain: Redaction) -> None:
    result = {
        "phone": "+1-415-555-2671",
        "card": 4111111111111111,
        "text": '{"mail": "Ann@Corp.com"}',
        "n": [1, 1.5, None],
    }
    row = example(
        "I am ann@corp.com, (415) 555-2671, my card is 4111 1111 1111 1111",
        {"to": "ANN@CORP.COM", "phone": 14155552671, "card": "4111-1111-1111-1111", "by": {"ann@corp.com": [True]}},
        json.dumps(result),
    )
    new = only(plain, row)
    question, arguments, told = (
        new.messages[0].content,
        new.messages[1].tool_calls[0].arguments,
        new.messages[2].content,
    )
    mail, phone, card = re.fullmatch(r"I am (\S+), (\(.*-\d{4}), my card is (.*)", question).groups()
    digits = re.sub(r"\D", "", phone)
    assert mail.partition("@")[2] in ("example.com", "example.org", "example.net")
    assert phonenumbers.is_valid_number(phonenumbers.parse(phone, "US"))
    assert arguments == {
        "to": mail.upper(),
        "phone": int(f"1{digits}"),
        "card": card.replace(" ", "-"),
        "by": {mail: [True]},
    }
    assert json.loads(told) == {
        "phone": f"+1-{digits[:3]}-{digits[3:6]}-{digits[6:]}",
        "card": int(card.replace(" ", "")),
        "text": json.dumps({"mail": mail}),
        "n": [1, 1.5, None],
    }


def test_json_text_changes_only_where_a_value_stood(plain: Redaction) -> None:
    text = '{ "a":1.0,"mail" :"ann\\u0040corp.com",\n "b": "\\u00e9 é", "id": 1732710000, "e": 1e3 }'
    mail = plain.text("ann@corp.com")
    assert plain.text(text) == text.replace("ann\\u0040corp.com", mail)


def test_what_one_place_tells_is_known_in_all_others(plain: Redaction) -> None:
    row = example(
        "It is 219099998, open sunshine8", {"ssn": 219099998, "password": "sunshine8", "count": 219}, "219099998"
    )
    new = only(plain, row)
    arguments = new.messages[1].tool_calls[0].arguments
    assert isinstance(arguments["ssn"], int)
    assert arguments["ssn"] != 219099998
    assert arguments["count"] == 219
    assert new.messages[0].content == f"It is {arguments['ssn']}, open {arguments['password']}"
    assert new.messages[2].content == str(arguments["ssn"])


HARMLESS = [
    "Order 20240501 of 2024-05-01T12:30:45Z costs 1,234,567.89",
    "at 1732710000, 40.7127753, -74.0059728 and 550e8400-e29b-41d4-a716-446655440000",
    "version 1.2.3, 127.0.0.1:8080, https://host.org/a?b=c&token_count=5",
    "pi is 3.141592653589793, call 911, room 12345-6789",
    '{"created": 1732710000, "total": 4155552671.5, "tokens": [1, 2, 3], "key": "name"}',
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_detail_stays(plain: Redaction, text: str) -> None:
    assert plain.text(text) == text
    assert plain.value({"said": text}) == {"said": text}


FITTING: list[tuple[dict[str, Any], Any]] = [
    ({"type": "string", "format": "email"}, "ann@corp.com"),
    ({"type": "string", "maxLength": 13}, "a@bb.com"),
    ({"type": "string", "maxLength": 16}, "ann.lee@corp.com"),
    ({"type": "string", "pattern": r"^\d{16}$"}, "4111111111111111"),
    ({"type": "string", "pattern": r"^\+1\d{10}$"}, "+14155552671"),
    ({"type": "integer", "minimum": 10**10, "maximum": 2 * 10**10}, 14155552671),
    ({"type": "string", "pattern": r"^\d{3}-\d{2}-\d{4}$"}, "219-09-9998"),
    ({"type": "string", "pattern": r"^CU-\d*[05]$"}, "CU-123455"),
    ({"type": "string", "format": "ipv4"}, "8.8.4.4"),
]


@pytest.mark.parametrize(("schema", "value"), FITTING)
def test_a_call_still_fits_its_tool(plain: Redaction, schema: dict[str, Any], value: Any) -> None:
    row = example(f"phone or mail {value}", {"phone": value}, offered=tool(phone=schema))
    new = only(plain, row)
    assert isinstance(new, Example)
    (call,) = new.messages[1].tool_calls
    assert call.arguments["phone"] != value
    assert type(call.arguments["phone"]) is type(value)
    assert not call_problems(call, new.tools)
    assert new.messages[0].content == f"phone or mail {call.arguments['phone']}"


def test_a_row_for_which_no_stand_in_fits_is_rejected_and_holds_none(plain: Redaction) -> None:
    row = example("to ann@corp.com", {"to": "ann@corp.com"}, offered=tool(to={"enum": ["ann@corp.com", "x"]}))
    new = only(plain, row)
    assert isinstance(new, Rejected)
    assert new.reason == "own.jsonl:1#1: no stand-in for its email_address fits the schema of 'send' at 'to'"
    assert "ann@corp.com" not in json.dumps(new.row)
    kept = only(redaction(keep=("ann@corp.com",)), row)
    assert kept == row


def test_of_a_tool_only_examples_and_defaults_change(plain: Redaction) -> None:
    words = {"type": "string", "description": "such as ann@corp.com", "enum": ["ann@corp.com"]}
    values = {"default": "bob@corp.com", "examples": ["bob@corp.com"]}
    default = {"type": "string", "description": "a parameter of this name"}
    row = example("q", {}, offered=tool(to={**words, **values}, default=default))
    (new,) = only(plain, row).tools
    mail = plain.text("bob@corp.com")
    assert new.parameters["properties"] == {"to": {**words, "default": mail, "examples": [mail]}, "default": default}


def test_pairs_and_edits_and_errors_pass_through_as_well(plain: Redaction) -> None:
    yes, no = (Message("assistant", f"{word} to ann@corp.com") for word in ("yes", "no"))
    pair = Preference("x@corp.com", "own", (Message("user", "ann@corp.com"),), (), yes, no, "direct")
    change = Change("text_dropped", "replace", "/ann@corp.com", "my ssn 219099998", "ann@corp.com")
    heard: list[Any] = []

    def rows() -> Iterator[Any]:
        yield pair
        raise DataError("own.jsonl: its layout is not known: 'annabella@corporation.c...'")

    new: list[Any] = []
    with pytest.raises(DataError) as error:
        new.extend(plain.rows(rows(), lambda *each: heard.append(each), "own.jsonl"))
    assert "annabella" not in str(error.value)
    plain.hear("x@corp.com", "messages", (change,))
    (row,) = plain.rows(iter([pair]), lambda *each: heard.append(each), "own.jsonl")
    assert not re.search("corp|219099998", repr(heard))
    assert len(heard) == 1
    mail = plain.text("ann@corp.com")
    assert row.chosen.content == f"yes to {mail}"
    assert row.rejected.content == f"no to {mail}"
    assert "corp" not in row.id


def test_a_key_of_the_environment_decides(plain: Redaction, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="key_env: the environment variable 'REDACT_KEY' is not set"):
        redaction(key_env="REDACT_KEY")
    monkeypatch.setenv("REDACT_KEY", "one")
    one, again, other = redaction(key_env="REDACT_KEY"), redaction(1, key_env="REDACT_KEY"), redaction(1)
    texts = [each.text("ann@corp.com") for each in (one, again, other, plain)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_wrong_keys_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"data.redact.kinds: unknown kind 'email', did you mean 'email_address'\?"):
        Redaction(RedactConfig(kinds=("email",)), 0)
    with pytest.raises(ValueError, match="'x' is no regular expression"):
        RedactConfig(patterns={"x": "("})
    with pytest.raises(ValueError, match="'x' matches the empty text"):
        RedactConfig(patterns={"x": "a*"})
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(ConfigError, match=r"needs the package 'presidio_analyzer'.*pip install 'calltune\[redact\]'"):
        redaction()


def test_what_follows_an_answer_is_quoted_with_stand_ins(plain: Redaction) -> None:
    """The doctor reads it, and its reasons hold the words of a result or of the user's next turn."""
    row = example("Find Ann.", {"name": "Ann"})
    said = Message("user", "No, I meant ann.lee@mail.test, as I said")
    new = only(plain, replace(row, after=(Message("tool", "Error: no ann.lee@mail.test"), said)))
    problems, _ = noise(new)
    assert {"corrected_answer"} <= {finding for finding, _ in problems}
    assert "ann.lee" not in repr((problems, new))
    assert len(new.after) == 2
