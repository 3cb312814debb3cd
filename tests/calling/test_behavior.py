import json
from collections import Counter
from pathlib import Path

import pytest

from calltune.calling.behavior import message_behavior, text_behavior
from calltune.types import Message, ToolCall


@pytest.mark.parametrize(
    ("text", "behavior"),
    [
        ("I can't do that here.", "cannot_answer"),
        ("I can\N{RIGHT SINGLE QUOTATION MARK}t do that here.", "cannot_answer"),
        ("I'm sorry, but I don't have access to flights. Shall I look at trains?", "cannot_answer"),
        ("Which city should I search?", "request_for_info"),
        ("How many tickets would you like?", "request_for_info"),
        ("Please tell me the date.", "request_for_info"),
        ("I also need the name of the hotel.", "request_for_info"),
        ("How about the Aloft hotel?", "direct"),
        ("Paris is the capital of France.", "direct"),
        ("Booked! Is there anything else?", "direct"),
        ("", "direct"),
    ],
)
def test_texts(text: str, behavior: str) -> None:
    assert text_behavior(text) == behavior


def test_a_call_is_a_call_whatever_is_said_beside_it() -> None:
    assert message_behavior(Message("assistant", "I can't.", (ToolCall("t", {}),))) == "tool_call"


def test_agreement_with_the_labels_of_real_options(shared_data: Path) -> None:
    """The rule was written looking at these rows, so this is a floor under it, not a measurement."""
    agreed: Counter[bool] = Counter()
    rows = (shared_data / "when2call" / "nvidia_test_dev.jsonl").read_text(encoding="utf-8")
    for line in rows.splitlines():
        for label, text in json.loads(line)["answers"].items():
            if label != "tool_call":
                agreed[text_behavior(text) == label] += 1
    assert sum(agreed.values()) == 453
    assert agreed[True] >= 449
