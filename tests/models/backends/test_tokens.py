from pathlib import Path

import pytest
from transformers import GenerationConfig

from calltune.calling.chat import Chat
from calltune.models.backends.tokens import completion, end_ids
from calltune.models.load import load_tokenizer
from calltune.types import Completion, Message, Sample, ToolCall

SAMPLE = Sample("1", "toy", (Message("user", "q"),), (), "direct")


@pytest.fixture
def chat(tiny_model: Path) -> Chat:
    return Chat(load_tokenizer(str(tiny_model)))


def read(chat: Chat, text: str, *rest: int) -> Completion:
    return completion(chat, end_ids(GenerationConfig(), chat), SAMPLE, [*chat.tokenizer(text).input_ids, *rest])


def test_an_answer_ends_is_malformed_or_truncated(chat: Chat) -> None:
    end = chat.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert read(chat, "Yes.", end, end).message == Message("assistant", "Yes.")
    cut = read(chat, "Yes.")
    assert (cut.status, cut.message, cut.text) == ("truncated", None, "Yes.")
    opened = read(chat, "<tool_call>{", end)
    assert opened.status == "malformed"
    assert "is not closed" in opened.reason


@pytest.mark.parametrize("text", ["", " \n", "<think>\nWhich?\n</think>\n\n"])
def test_an_answer_of_nothing_is_malformed(chat: Chat, text: str) -> None:
    end = chat.tokenizer.convert_tokens_to_ids("<|im_end|>")
    nothing = read(chat, text, end)
    assert (nothing.status, nothing.message, nothing.text) == ("malformed", None, text)
    assert nothing.reason == "the answer has neither text nor calls"
    assert read(chat, f"{text}</think>Yes.", end).status == "ok"


def test_thoughts_are_no_part_of_an_answer(chat: Chat) -> None:
    end = chat.tokenizer.convert_tokens_to_ids("<|im_end|>")
    call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    thought = read(chat, f"<think>\nShall I? {call}\n</think>\n\nNo.", end)
    assert thought.message == Message("assistant", "No.")
    # A template that opens the thought leaves its beginning in the prompt.
    opened = read(chat, f"Shall I? {call}</think>{call}", end)
    assert opened.message == Message("assistant", "", (ToolCall("f", {}),))
    endless = read(chat, f"<think>{call}", end)
    assert (endless.status, endless.reason) == ("malformed", "a thought is begun and never ends")
    assert read(chat, f"<think>{call}").status == "truncated"


@pytest.mark.parametrize(("configured", "more"), [(None, set()), (0, {0}), ([0, 7], {0, 7})])
def test_ends_are_the_checkpoint_s_and_the_template_s(chat: Chat, configured: object, more: set[int]) -> None:
    assert end_ids(GenerationConfig(eos_token_id=configured), chat) == {chat.tokenizer.eos_token_id} | more
