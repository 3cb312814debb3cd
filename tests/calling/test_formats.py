"""Every format of calls: calls that are cut do not come back, and what does not parse says where."""

import random
from pathlib import Path

import pytest
from written_calls import FORMATS, QUESTION, STORED, TOOL, call_of, chat_with

from calltune.calling.calls import CallFormat, parse_answer
from calltune.calling.template_proof import prove_template
from calltune.types import Message, ToolCall

MORE = {
    "nemotron_3_nano": "xml",
    "nemotron_3_super": "xml",
    "qwen3_6": "xml",
    "qwen3_8": "xml",
    "qwen3_5_think": "xml",
    "lfm2_2_5_vl": "lfm2",
}
NUM_CUT = 4
OPENED: dict[CallFormat, str] = {
    "json": "{",
    "list": "[",
    "lfm2": "<|tool_call_start|>",
    "functionary": "<function=do_it>",
    "functionary_v3": "do_it\n",
    "gemma4": "<|tool_call>",
    "functiongemma": "<start_function_call>",
    "harmony": "json<|message|>",
    "atem": "<atem:function_calls>",
    "deepseek_v3": "<\uff5ctool\u2581calls\u2581begin\uff5c>",
    "deepseek_v31": "<\uff5ctool\u2581calls\u2581begin\uff5c>",
    "mistral": "[TOOL_CALLS]",
    "mistral_v11": "[TOOL_CALLS]",
    "granite": "<|tool_call|>",
}


@pytest.mark.parametrize("call_format", list(FORMATS))
def test_calls_that_are_cut_stay_malformed(tiny_model: Path, call_format: CallFormat) -> None:
    chat = chat_with(tiny_model, *FORMATS[call_format])
    chance = random.Random(call_format)
    opened = OPENED.get(call_format, "<tool_call>")
    for _ in range(NUM_CUT):
        written = chat.strip_end(chat.answer([QUESTION], [TOOL], Message("assistant", "", (call_of(chance),)))).strip()
        for length in range(written.index(opened) + len(opened), len(written) - 1):
            parsed = parse_answer(written[:length], call_format, [TOOL])
            assert parsed.message is None, written[:length]
            assert parsed.reason


@pytest.mark.parametrize("name", list(MORE))
def test_templates_of_todays_models_pass_their_proof(tiny_model: Path, name: str) -> None:
    chat = chat_with(tiny_model, STORED / f"{name}.jinja", "<|im_end|>")
    assert chat.call_format == MORE[name]
    assert prove_template(chat) == ()


def test_a_template_that_escapes_nothing_is_told(tiny_model: Path) -> None:
    chat = chat_with(tiny_model, STORED / "lfm2_2_5.jinja", "<|im_end|>")
    (note,) = prove_template(chat)
    assert "does not escape what it writes into a call" in note
    assert "rows with such values are rejected one by one" in note


XML = "<tool_call>\n<function=do_it>\n{}</function>\n</tool_call>"
GLM = "<tool_call>do_it\n{}</tool_call>"


def parameter(name: str, value: str) -> str:
    return f"<parameter={name}>\n{value}\n</parameter>\n"


@pytest.mark.parametrize(
    ("call_format", "text", "reason"),
    [
        ("xml", XML.format(parameter("count", "many")), "gives 'count' 'many', which is no integer"),
        ("xml", XML.format(parameter("flag", "maybe")), "which is no boolean"),
        ("xml", XML.format(parameter("names", '["a"')), "which is no array"),
        ("xml", XML.format(parameter("maybe", "'7'")), "which is no integer or null"),
        ("xml", XML.format(parameter("text", "a") * 2), "gives 'text' twice"),
        ("xml", XML.format("text: a\n"), "holds something beside its parameters"),
        ("xml", '<tool_call>{"name": "do_it"}</tool_call>', "is not one function between"),
        ("xml", "<tool_call><function=do_it>", "a call opened at character 0 is not closed"),
        ("xml", "</tool_call>", "closed that was never opened"),
        ("xml", XML.format(parameter("count", "[" * 3000)), "gives 'count' JSON nested too deeply"),
        ("glm", GLM.format("<arg_key>count</arg_key>\n<arg_value>many</arg_value>\n"), "which is no integer"),
        ("glm", GLM.format("<arg_key>count</arg_key>\n"), "holds something beside its arguments"),
        ("glm", "<tool_call>\n</tool_call>", "has no name"),
        ("glm", "<tool_call>do it\n</tool_call>", "has no name"),
        ("lfm2", "<|tool_call_start|>[do_it(count=1)", "the list of calls at character 0 is not closed"),
        ("lfm2", "Well. <|tool_call_start|>do_it<|tool_call_end|>", "the list of calls at character 6 is no list"),
        ("lfm2", "<|tool_call_start|>[do_it(count=one)]<|tool_call_end|>", "which is no value in Python"),
        ("lfm2", "<|tool_call_start|>[do_it(names=['a' 'b'])]<|tool_call_end|>", "has two texts side by side"),
        ("gemma4", "<|tool_call>call:do_it{count:many}<tool_call|>", "has no value at its character 17: 'many}'"),
        ("gemma4", "<|tool_call>call:do_it{count:1,count:2}<tool_call|>", "gives 'count' twice"),
        ("gemma4", "<|tool_call>call:do_it{count:1}}<tool_call|>", "goes on behind its arguments"),
        ("gemma4", "<|channel>thought\nHm", "a thought is begun and never ends"),
        ("functiongemma", "<start_function_call>call:do_it{text:<escape>a}<end_function_call>", "that is not closed"),
        ("harmony", "Just words.", "message 1 of the answer has no <|message|>"),
        ("harmony", "<|channel|>analysis<|message|>Hm", "a thought is begun and never ends"),
        ("harmony", " to=browser.open<|channel|>commentary json<|message|>{}", "is not for a function"),
        ("harmony", " to=functions.f<|channel|>commentary json<|message|>{", "has arguments that cannot be read"),
        ("atem", " to=do_it<|message|>words", "is for 'do_it' and is no call of it"),
        ("mistral", '[TOOL_CALLS][{"name": "f", "arguments": {}, "id": "1"}]', "that is not nine letters or digits"),
        ("mistral", '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1, "a": 2}}]', "occurs twice in one object"),
        ("mistral_v11", "[TOOL_CALLS]f[CALL_ID]1[ARGS]{}", "call 0 has an id that is not nine letters or digits"),
        ("granite", "<|tool_call|>[]", "is no list with a call in it"),
        ("functionary_v3", "Just words.", "the part at character 0 does not say for whom it is"),
        ("lfm2", "<|tool_call_end|>", "closed that was never opened"),
        ("lfm2", "<|tool_call_start|>[]<|tool_call_end|><|tool_call_start|>", "followed by another mark"),
    ],
)
def test_what_does_not_parse_says_where(call_format: CallFormat, text: str, reason: str) -> None:
    parsed = parse_answer(text, call_format, [TOOL])
    assert parsed.message is None
    assert reason in parsed.reason
    assert len(parsed.reason.splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "is_read_as"),
    [("12", "12"), ("True", "True"), ("null", "null"), ("[1]", "[1]"), ("  a  ", "  a  "), ("a\nb", "a\nb")],
)
def test_a_text_is_a_text_where_the_schema_says_so(value: str, is_read_as: str) -> None:
    parsed = parse_answer(XML.format(parameter("text", value)), "xml", [TOOL])
    assert parsed.message == Message("assistant", "", (ToolCall("do_it", {"text": is_read_as}),))


def test_words_beside_a_call_stay() -> None:
    text = f"Wait.\n{XML.format(parameter('count', '3'))}"
    assert parse_answer(text, "xml", [TOOL]).message == Message(
        "assistant", "Wait.", (ToolCall("do_it", {"count": 3}),)
    )
    assert parse_answer("Just words.", "xml", [TOOL]).message == Message("assistant", "Just words.")
    # A tool that was not offered has no schema, so that its values stay texts.
    assert parse_answer(
        XML.replace("do_it", "other").format(parameter("count", "3")), "xml", [TOOL]
    ).message == Message("assistant", "", (ToolCall("other", {"count": "3"}),))
