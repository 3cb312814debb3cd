import pytest

from calltune.errors import DataError
from calltune.evaluation.benchmarks.when2call_prompts import FAMILIES, official_prompt
from calltune.types import BEHAVIORS

TOOL = '{"name": "order_bread", "description": "Orders bread.", "parameters": {"type": "dict", "properties": {}}}'
CALL = '{"name": "order_bread", "arguments": {"loaf": "rye", "count": 2, "sliced": true, "by": null, "to": ["A", 1]}}'
ANSWERS = {"direct": "Done.", "tool_call": CALL, "request_for_info": "Which loaf?", "cannot_answer": "I can't."}


def ask(family, question="Bread, please.", tools=(TOOL,), **answers):
    return official_prompt(family, question, tools, {**ANSWERS, **answers}, "rows.jsonl:3")


@pytest.mark.parametrize(
    ("family", "call"),
    [
        ("default", CALL),
        ("qwen2_5", CALL),
        ("hermes", f"<tool_call>{CALL}\n</tool_call>"),
        ("xlam", '{\n\t"tool_calls": [\n\t' + CALL + "\n\t]\n}"),
        ("llama3_2", "[order_bread(loaf=\"rye\", count=2, sliced=True, by=None, to=['A', 1])]"),
        (
            "functionary",
            '<function=order_bread>{"loaf": ""rye"", "count": "2", "sliced": "true", "by": "null", "to": "["A", 1]"}'
            "</function>",
        ),
    ],
)
def test_calls_are_spelled_as_nvidia_does(family, call):
    assert ask(family)[1]["tool_call"] == call


@pytest.mark.parametrize("family", FAMILIES)
def test_choices_stand_in_the_published_order_and_texts_stay_as_they_are(family):
    _, choices = ask(family, direct=" Done.\n")
    assert tuple(choices) == BEHAVIORS
    assert choices["direct"] == " Done.\n"
    assert choices["request_for_info"] == "Which loaf?"


@pytest.mark.parametrize(
    ("family", "end"),
    [
        ("default", "Bread, please."),
        ("functionary", "Bread, please.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
        ("hermes", "<|im_start|>user\nBread, please.<|im_end|>"),
        ("llama3_2", "Bread, please.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
        ("qwen2_5", "Bread, please.<|im_end|>\n<|im_start|>assistant\n"),
        ("xlam", "Bread, please.\n[END OF QUERY]\n\n"),
    ],
)
def test_prompt_ends_with_the_question(family, end):
    assert ask(family)[0].endswith(end)


@pytest.mark.parametrize("family", FAMILIES)
def test_braces_and_percent_signs_in_rows_are_only_text(family):
    prompt, _ = ask(family, question="{tools} %s {0}", tools=[TOOL.replace("Orders bread.", "{question} 100%")])
    assert "{tools} %s {0}" in prompt
    assert "{question} 100%" in prompt


@pytest.mark.parametrize("family", FAMILIES)
def test_no_tools_leave_an_empty_place(family):
    with_tool, without = ask(family)[0], ask(family, tools=())[0]
    assert "Orders bread." in with_tool
    assert "Orders bread." not in without
    assert len(without) < len(with_tool)


def test_a_call_without_arguments():
    assert ask("llama3_2", tool_call='{"name": "go", "arguments": {}}')[1]["tool_call"] == "[go()]"
    assert (
        ask("functionary", tool_call='{"name": "go", "parameters": {}}')[1]["tool_call"] == "<function=go>{}</function>"
    )


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("qwen2_5", {"direct": ""}, "rows.jsonl:3: answers: 'direct' is empty"),
        ("qwen2_5", {"direct": None}, "rows.jsonl:3: answers: 'direct' must be str, not NoneType"),
        ("llama3_2", {"tool_call": "go()"}, "rows.jsonl:3: answers.tool_call: not valid JSON"),
        ("llama3_2", {"tool_call": '{"name": "go"}'}, "rows.jsonl:3: answers.tool_call: 'arguments' is missing"),
        ("functionary", {"tool_call": '{"arguments": {}}'}, "rows.jsonl:3: answers.tool_call: 'name' is missing"),
        ("functionary", {"tools": ["{}"]}, r"rows.jsonl:3: tools\[0\]: 'name' is missing"),
        ("llama3_2", {"tools": [TOOL, "[]"]}, r"rows.jsonl:3: tools\[1\]: a JSON object was expected, not list"),
    ],
)
def test_broken_rows_are_named(family, changes, message):
    with pytest.raises(DataError, match=message):
        ask(family, **changes)


def test_a_missing_answer_is_named():
    with pytest.raises(DataError, match="answers: 'cannot_answer' is missing"):
        official_prompt("qwen2_5", "?", [], {k: v for k, v in ANSWERS.items() if k != "cannot_answer"}, "rows.jsonl:3")
