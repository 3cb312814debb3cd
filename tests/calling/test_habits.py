"""Templates with habits: what they do not take is rejected row by row, in their own words or with the characters."""

from pathlib import Path

import pytest
from written_calls import OWN, STORED, chat_with

from calltune.calling.chat import Chat
from calltune.calling.template_proof import Proof, Written, prove_template
from calltune.types import Example, Message, Tool, ToolCall

TOOL = Tool("find_city", "Find a city.", {"type": "object", "properties": {"name": {"type": "string"}}})
SYSTEM = Message("system", "Be brief.")
QUESTION = Message("user", "Where is Ulm?")
CALL = Message("assistant", "", (ToolCall("find_city", {"name": "Ulm"}),))
TWO = Message("assistant", "", CALL.tool_calls * 2)
RESULT, TEXT = Message("tool", "48.4 N"), Message("assistant", "By the Danube.")


def row(chat: Chat, *messages: Message) -> Written | str:
    return Proof(chat).row(Example("1", "s", messages, (TOOL,), "direct"))


@pytest.fixture
def nemo(tiny_model: Path) -> Chat:
    return chat_with(tiny_model, OWN / "mistral_v7.jinja", "</s>")


def test_rows_with_a_system_message_that_moves_are_rejected_one_by_one(nemo: Chat) -> None:
    (note,) = prove_template(nemo)
    assert note.startswith("the chat template does not write answers after a system message so that they can be taught")
    for messages in ((QUESTION, CALL), (QUESTION, CALL, RESULT, TEXT), (QUESTION, TEXT, QUESTION, TWO)):
        assert isinstance(row(nemo, *messages), Written)
    reason = str(row(nemo, SYSTEM, QUESTION, TEXT, QUESTION, CALL))
    assert reason.startswith("its chat template changes the prompt once it is answered: after a message of the user")
    assert "[INST]' it writes 'Where is Ulm?[/INST][TOOL_CALLS][{" in reason
    assert reason.endswith("' instead of 'Be brief.\\n\\nWhere is Ulm?[/INST]'")
    # Behind a result it has no place, so that the row would be taught without it.
    assert row(nemo, SYSTEM, QUESTION, CALL, RESULT, TEXT) == ("its chat template leaves out the message of the system")


def test_roles_that_are_not_taken_are_told_in_the_template_s_words(nemo: Chat) -> None:
    assert row(nemo, QUESTION, QUESTION, CALL) == (
        "its chat template refuses a conversation: after the system message, roles must alternate user/assistant"
    )


@pytest.mark.parametrize(
    ("template", "end", "why"),
    [
        ("llama3_2", "<|eot_id|>", "This model only supports single tool-calls at once!"),
        ("gptoss", "<|return|>", "its calls are read back as other calls: behind "),
    ],
)
def test_several_calls_are_rejected_where_one_is_taken(tiny_model: Path, template: str, end: str, why: str) -> None:
    chat = chat_with(tiny_model, STORED / f"{template}.jinja", end)
    notes = [note for note in prove_template(chat) if "several calls in one answer" in note]
    assert len(notes) == 1
    assert why in notes[0]
    assert isinstance(row(chat, QUESTION, CALL), Written)
    assert why in str(row(chat, QUESTION, TWO))


def test_a_value_that_does_not_come_back_is_told_with_its_characters(tiny_model: Path) -> None:
    chat = chat_with(tiny_model, STORED / "gemma4_v5.jinja", "<eos>")
    odd = Message("assistant", "", (ToolCall("find_city", {"name": {"a:b": 1}}),))
    assert "malformed call: the call at character 0" in str(row(chat, QUESTION, odd))
    # The template takes what looks like a thought off.
    thought = row(chat, QUESTION, Message("assistant", "Well.<|channel>Hm"))
    assert thought == (
        "the text of its answer is read back as another text: behind 'Well.' stands '<|channel>Hm' and '' is read"
    )
