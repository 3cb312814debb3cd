"""Templates that write the last message otherwise, or want arguments as text: what is trained is what is served."""

from pathlib import Path

import pytest

from calltune.calling.chat import Chat
from calltune.calling.template_proof import Proof, Written, prove_template
from calltune.errors import ModelError
from calltune.models.load import load_tokenizer
from calltune.types import Example, Message, Preference, Tool, ToolCall

OWN = Path(__file__).parents[1] / "material" / "templates"
HERMES = (OWN / "hermes.jinja").read_text(encoding="utf-8")
TOOL = Tool("find_city", "Find a city.", {"type": "object", "properties": {"name": {"type": "string"}}})
QUESTION = Message("user", "Where is Überlingen?")
CALL = Message("assistant", "", (ToolCall("find_city", {"name": 'Über"lingen'}),))
RESULT, TEXT = Message("tool", "47.77 N"), Message("assistant", "It is by the lake.")
OPENED = "<|im_start|>assistant\n"


def chat_of(tiny_model: Path, template: str) -> Chat:
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = template
    return Chat(tokenizer, "toy")


QUIRKS = {
    "tool": (
        "'\\n</tool_response><|im_end|>\\n'",
        "'\\n</tool_response>' ~ ('' if loop.last else ' ') ~ '<|im_end|>\\n'",
    ),
    "user": (
        "message.content + '<|im_end|>\\n'",
        "message.content ~ ('!' if loop.last and message.role == 'user' else '') ~ '<|im_end|>\\n'",
    ),
    "system": ("messages[0].content + '\\n'", "messages[0].content ~ messages | length ~ '\\n'"),
}
"""What a template does with which message when it is, or is not, the last one."""
SHAPES = {
    "tool": (QUESTION, CALL, RESULT),
    "two tools": (QUESTION, Message("assistant", "", CALL.tool_calls * 2), RESULT, RESULT),
    "user": (QUESTION,),
    "system": (Message("system", "Be brief."), QUESTION),
    "later": (QUESTION, CALL, RESULT, TEXT, QUESTION, CALL, RESULT),
}


@pytest.mark.parametrize("quirk", QUIRKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_is_trained_after_the_prompt_that_is_served(tiny_model: Path, quirk: str, shape: str) -> None:
    old, new = QUIRKS[quirk]
    assert old in HERMES
    plain, chat = chat_of(tiny_model, HERMES), chat_of(tiny_model, HERMES.replace(old, new))
    prompt = chat.prompt(SHAPES[shape], [TOOL])
    assert prompt.endswith(OPENED)
    for answer in (TEXT, CALL, Message("assistant", "", CALL.tool_calls * 2)):
        expected = plain.answer(SHAPES[shape], [TOOL], answer)
        assert chat.answer(SHAPES[shape], [TOOL], answer) == expected
        written = Proof(chat).row(Example("1", "s", (*SHAPES[shape], answer), (TOOL,), "direct"))
        assert isinstance(written, Written)
        assert (written.prompt, written.answers) == (prompt, (expected,))
    pair = Preference("1", "s", SHAPES[shape], (TOOL,), CALL, TEXT, "tool_call")
    both = Proof(chat).row(pair)
    assert isinstance(both, Written)
    assert both.answers == tuple(plain.answer(SHAPES[shape], [TOOL], answer) for answer in (CALL, TEXT))


@pytest.mark.parametrize("quirk", QUIRKS)
def test_what_is_written_otherwise_is_told(tiny_model: Path, quirk: str) -> None:
    notes = prove_template(chat_of(tiny_model, HERMES.replace(*QUIRKS[quirk])))
    assert f"after a message of the {'user' if quirk == 'system' else quirk}, behind '" in notes[0]
    assert all(note.endswith("; answers are trained after the prompt as it is served") for note in notes)
    assert not prove_template(chat_of(tiny_model, HERMES))


def test_an_answer_that_cannot_be_told_from_its_prompt_is_refused_with_the_characters(tiny_model: Path) -> None:
    strange = HERMES.replace(
        "{{- '<|im_start|>' + message.role + '\\n' + message.content",
        "{{- '<|im_start|>' ~ ('bot' if message.role == 'assistant' else message.role) ~ '\\n' ~ message.content",
    )
    assert strange != HERMES
    chat = chat_of(tiny_model, strange)
    reason = Proof(chat).row(Example("1", "s", (QUESTION, CALL, RESULT, TEXT), (TOOL,), "direct"))
    assert reason == (
        "its chat template changes the prompt once it is answered: after a message of the tool, behind "
        "'\\n</tool_response><|im_end|>\\n<|im_start|>' it writes 'bot\\nIt is by the lake.<|im_end|>' instead of "
        "'assistant'"
    )


ARGUMENTS = "call.function.arguments | tojson"


@pytest.mark.parametrize(
    "wanted",
    [
        "call.function.arguments",
        "call.function.arguments | string",
        "(call.function.arguments if call.function.arguments is string else raise_exception('text, please'))",
    ],
)
def test_arguments_as_text(tiny_model: Path, wanted: str) -> None:
    plain, chat = chat_of(tiny_model, HERMES), chat_of(tiny_model, HERMES.replace(ARGUMENTS, wanted))
    assert (plain.arguments_as_text, chat.arguments_as_text) == (False, True)
    (note,) = prove_template(chat)
    assert "takes a call's arguments as JSON text, not as an object" in note
    for messages in SHAPES.values():
        assert chat.parse(chat.answer(messages, [TOOL], CALL), [TOOL]).message == CALL
        assert chat.prompt(messages, [TOOL]) == plain.prompt(messages, [TOOL])


def test_arguments_in_either_shape_are_an_object(tiny_model: Path) -> None:
    either = "(call.function.arguments if call.function.arguments is string else call.function.arguments | tojson)"
    assert not chat_of(tiny_model, HERMES.replace(ARGUMENTS, either)).arguments_as_text


def test_a_template_that_takes_neither_shape_says_so(tiny_model: Path) -> None:
    neither = "(raise_exception('no text') if call.function.arguments is string else raise_exception('no object'))"
    with pytest.raises(ModelError) as error:
        chat_of(tiny_model, HERMES.replace(ARGUMENTS, neither))
    assert str(error.value) == (
        "model 'toy': a call cannot be written: with its arguments as an object, its chat template refuses a "
        "conversation: no object; with them as JSON text, its chat template refuses a conversation: no text"
    )
