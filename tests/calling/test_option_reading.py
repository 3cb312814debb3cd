import json

import pytest

from calltune.calling.option_reading import majority, read_options
from calltune.types import Message, Sample, Tool, ToolCall


def question(text, arguments, offered=("order_bread",), called="order_bread", target="tool_call"):
    tools = tuple(Tool(name, "", {"type": "object", "properties": {}}) for name in offered)
    call = Message("assistant", "", (ToolCall(called, arguments),))
    return Sample("1", "when2call", (Message("user", text),), tools, target, {"tool_call": call})


@pytest.mark.parametrize(
    ("text", "arguments", "behavior"),
    [
        ("Two loaves of RYE bread", {"loaf": "rye"}, "tool_call"),
        ("Some bread", {"loaf": "rye"}, "request_for_info"),
        ("2 loaves of rye", {"loaf": "rye", "count": 2}, "tool_call"),
        ("3 loaves of rye", {"loaf": "rye", "count": 2}, "request_for_info"),
        ("rye and spelt", {"loaves": ["rye", {"kind": "Spelt"}]}, "tool_call"),
        ("rye and oats", {"loaves": ["rye", {"kind": "Spelt"}]}, "request_for_info"),
        ("Bread", {"sliced": True, "note": None}, "tool_call"),
        ("Bread", {}, "tool_call"),
    ],
)
def test_a_value_that_nobody_gave_is_asked_for(text, arguments, behavior):
    assert read_options(question(text, arguments)) == behavior


def test_a_tool_that_is_not_offered_cannot_be_called():
    assert read_options(question("rye", {"loaf": "rye"}, offered=())) == "cannot_answer"
    assert read_options(question("rye", {"loaf": "rye"}, offered=("order_breads", "Order_Bread"))) == "cannot_answer"


def test_majority_is_the_most_frequent_and_the_first_among_equals():
    assert majority(["cannot_answer", "tool_call", "cannot_answer"]) == "cannot_answer"
    assert majority(["cannot_answer", "request_for_info"]) == "request_for_info"


def test_options_alone_answer_most_of_the_real_questions(shared_data):
    lines = (shared_data / "when2call" / "nvidia_test_dev.jsonl").read_text(encoding="utf-8").splitlines()
    samples = []
    for row in map(json.loads, lines):
        call = json.loads(row["answers"]["tool_call"])
        offered = [json.loads(tool)["name"] for tool in row["tools"]]
        samples.append(question(row["question"], call["arguments"], offered, call["name"], row["correct_answer"]))
    targets = [sample.target for sample in samples]
    assert sum(read_options(sample) == sample.target for sample in samples) == 128
    assert len(samples) == 151
    assert majority(targets) == "request_for_info"
    assert targets.count("request_for_info") == 51
