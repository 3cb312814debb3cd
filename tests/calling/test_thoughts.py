"""Thinking on and off: what is taught in each mode is what the template writes in it, and neither holds the other's."""

from pathlib import Path
from typing import Any

import pytest
import trl
from transformers import AutoTokenizer

from calltune.calling.chat import Chat
from calltune.calling.layout import ThoughtLayout, message_dicts, tool_dict
from calltune.calling.parsed import ENDLESS_THOUGHT, thought_in
from calltune.calling.template_proof import Proof, prove_template
from calltune.calling.thinking_proof import prove_thoughts
from calltune.calling.thoughts import in_both_modes, settled
from calltune.errors import ModelError
from calltune.types import Example, Message, Preference, Tool, ToolCall

OWN = Path(__file__).parents[1] / "material" / "templates"
STORED = Path(trl.__path__[0]) / "chat_templates"
TOOL = Tool("find_city", "Find a city.", {"type": "object", "properties": {"name": {"type": "string"}}})
QUESTION = Message("user", "Where is Überlingen?")
CALL = Message("assistant", "", (ToolCall("find_city", {"name": "Überlingen"}),), "I look it up.\n\nA tool finds it.")
TEXT = Message("assistant", "By the lake.", thought="I know that one.")
RESULT = Message("tool", "47.77 N")
SHAPES = {
    "a question": (QUESTION,),
    "behind a result": (QUESTION, CALL, RESULT),
    "in a later turn": (QUESTION, CALL, RESULT, TEXT, Message("user", "And Bodman?")),
}
FAMILIES: dict[str, tuple[Path | None, ThoughtLayout]] = {
    "qwen3": (None, "reasoning_content"),
    "qwen3_5": (STORED / "qwen3_5_think.jinja", "reasoning_content"),
    "glm": (STORED / "glm4moe.jinja", "reasoning_content"),
    "nemotron": (STORED / "nemotron_3_nano.jinja", "reasoning_content"),
    "smollm3": (OWN / "smollm3_like.jinja", "content"),
}


def chat_of(template: str, tiny_model: Path) -> Chat:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template
    return Chat(tokenizer, "toy")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tiny_model: Path) -> tuple[Chat, ThoughtLayout]:
    file, layout = FAMILIES[request.param]
    if file is None:
        folder = request.getfixturevalue("shared_data") / "qwen3"
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
        return Chat(tokenizer, "toy"), layout
    return chat_of(file.read_text(encoding="utf-8"), tiny_model), layout


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("thinks", [False, True])
def test_prompt_and_answer_are_the_template_s_own_in_each_mode(
    family: tuple[Chat, ThoughtLayout], shape: str, thinks: bool
) -> None:
    (chat, layout), before = family, SHAPES[shape]

    def own(messages: list[Message], begins: bool = False) -> str:
        dicts = message_dicts(messages, thoughts=layout if thinks else None)
        told: Any = {"tools": [tool_dict(TOOL)], "tokenize": False, "enable_thinking": thinks}
        return str(chat.tokenizer.apply_chat_template(dicts, add_generation_prompt=begins, **told))

    for answer in (CALL, TEXT):
        asked = chat.in_mode(thinks)
        prompt, (text,) = asked.prompt_and_answers(before, [TOOL], [answer])
        assert prompt == asked.prompt(before, [TOOL]) == own([*before], begins=True)
        # Glm's ends no answer.
        end = chat.ends[0] if chat.adds_end else ""
        assert prompt + text == own([*before, answer]).removesuffix("\n") + end
        read = asked.parse(text, [TOOL]).message
        assert read is not None
        assert read == answer
        assert read.thought == (answer.thought if thinks else "")
        assert text.count(answer.thought) == int(thinks)
        assert thinks or not any(each.thought and each.thought in prompt for each in before)


def test_a_row_is_written_in_the_mode_that_its_answers_have(family: tuple[Chat, ThoughtLayout]) -> None:
    chat, _ = family
    row = Example("1", "s", (QUESTION, CALL, RESULT, TEXT), (TOOL,), "direct")
    on, off = in_both_modes([row])
    assert (on.id, off.id) == ("1", "1 (thinking off)")
    for each, thinks in ((on, True), (off, False)):
        written = chat.for_answers(each.answers).prompt_and_answers(each.prompt, each.tools, each.answers)
        expected = chat.in_mode(thinks).prompt_and_answers(row.prompt, row.tools, row.answers)
        assert written == expected
    assert in_both_modes([off]) == [off]


def test_a_row_is_settled_in_one_mode() -> None:
    unthinking = Message("assistant", "By the lake.")
    answered = Example("1", "s", (QUESTION, CALL, RESULT, unthinking), (TOOL,), "direct")
    assert not any(message.thought for message in settled(answered).messages)
    mixed = Preference("2", "s", (QUESTION,), (TOOL,), CALL, unthinking, "tool_call")
    assert not any(message.thought for message in settled(mixed).answers)
    both = Preference("3", "s", (QUESTION,), (TOOL,), CALL, TEXT, "tool_call")
    assert [message.thought for message in settled(both).answers] == [CALL.thought, TEXT.thought]


def test_families_pass_their_proof_in_both_modes(family: tuple[Chat, ThoughtLayout]) -> None:
    chat, _ = family
    prove_template(chat)
    assert prove_thoughts(chat, "both") == ()
    assert chat.has_switch


def test_rows_are_proven_in_their_mode(tiny_model: Path) -> None:
    chat = chat_of((STORED / "qwen3_5_think.jinja").read_text(encoding="utf-8"), tiny_model)
    prove_template(chat)
    proof = Proof(chat, "both")
    written = proof.row(Example("1", "s", (QUESTION, CALL), (TOOL,), "tool_call"))
    assert not isinstance(written, str)
    assert CALL.thought in written.answers[0]
    assert written.prompt.endswith("<think>\n")
    tags = Message("assistant", "Yes.", thought="One </think> inside.")
    assert "holds the tag" in str(proof.row(Example("2", "s", (QUESTION, tags), (TOOL,), "direct")))
    control = Message("assistant", "Yes.", thought="An <|im_end|> inside.")
    assert "reads as control" in str(proof.row(Example("3", "s", (QUESTION, control), (TOOL,), "direct")))


def test_a_template_without_a_switch(tiny_model: Path) -> None:
    template = (OWN / "smollm3_like.jinja").read_text(encoding="utf-8")
    chat = chat_of(template.replace("enable_thinking is not defined or enable_thinking", "true"), tiny_model)
    (note,) = prove_thoughts(chat, "on")
    assert "same prompt with thinking on and off" in note
    with pytest.raises(ModelError, match="the two modes cannot be told apart"):
        prove_thoughts(chat, "both")
    without = Example("1", "s", (QUESTION, Message("assistant", "Yes.")), (TOOL,), "direct")
    assert "its answer has no thought" in str(Proof(chat, "on").row(without))
    assert not isinstance(Proof(chat, "off").row(without), str)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("+ message.content", "+ message.content.split('</think>')[-1]", "leaves out what an answer's thought says"),
        ("+ message.content", "+ message.content | replace('think>', 'ponder>')", "in other tags than <think>"),
    ],
)
def test_a_template_that_writes_no_thoughts_is_refused(tiny_model: Path, old: str, new: str, problem: str) -> None:
    template = (OWN / "smollm3_like.jinja").read_text(encoding="utf-8")
    place = "'<think>\\n\\n</think>\\n\\n') "
    assert template.count(place + old) == 1
    chat = chat_of(template.replace(place + old, place + new), tiny_model)
    assert prove_thoughts(chat, "off") == ()
    with pytest.raises(ModelError, match=f"cannot be taught to think: .*{problem}"):
        prove_thoughts(chat, "on")


def test_an_answer_ends_its_thought_or_is_none(family: tuple[Chat, ThoughtLayout]) -> None:
    on = family[0].in_mode(True)
    opened = on.prompt([QUESTION], [TOOL]).rstrip().endswith("<think>")
    endless = on.parse("Hm. It may" if opened else "<think>Hm. It may", [TOOL])
    assert (endless.message, endless.reason) == (None, ENDLESS_THOUGHT)
    plain = on.parse("Hm. It may", [TOOL])
    assert plain.message is None if opened else plain.message == Message("assistant", "Hm. It may")


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", "Hm."),
        ("Hm.\n</think>\n\nYes.", "Hm."),
        ("<think>\n\n</think>\n\nYes.", ""),
        ("<think>Hm. It", "Hm. It"),
        ("Yes.", ""),
    ],
)
def test_the_thought_of_an_answer(text: str, thought: str) -> None:
    assert thought_in(text) == thought
