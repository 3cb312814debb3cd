import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from calltune.calling.chat import Chat
from calltune.errors import ModelError
from calltune.models.load import load_tokenizer
from calltune.types import Message, Tool, ToolCall

TOOL = Tool("find_city", "Find a city.", {"type": "object", "properties": {"name": {"type": "string"}}})
QUESTION = Message("user", "Where is Überlingen?")
CALL = Message("assistant", "", (ToolCall("find_city", {"name": "Überlingen"}),))


@pytest.fixture(params=["shipped", "qwen3", "qwen3-2025-04"])
def chat(request: pytest.FixtureRequest, tiny_model: Path) -> Chat:
    if request.param == "shipped":
        return Chat(load_tokenizer(str(tiny_model)))
    folder = request.getfixturevalue("shared_data") / "qwen3"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    name = "chat_template.jinja" if request.param == "qwen3" else "chat_template.2025-04-original.jinja"
    tokenizer.chat_template = (folder / name).read_text(encoding="utf-8")
    return Chat(tokenizer)


def test_tools_stand_in_the_prompt_once(chat: Chat) -> None:
    prompt = chat.prompt([QUESTION], [TOOL])
    assert prompt.count("Find a city.") == 1
    assert prompt.count("Where is Überlingen?") == 1


def test_what_is_written_is_what_is_read(chat: Chat) -> None:
    for message in (CALL, Message("assistant", "It is by the lake."), Message("assistant", "", CALL.tool_calls * 2)):
        text = chat.answer([QUESTION], [TOOL], message)
        assert text.endswith(chat.tokenizer.eos_token)
        assert chat.parse(text, [TOOL]).message == message


def test_prompt_and_answer_are_the_template_s_own_conversation(chat: Chat) -> None:
    whole = chat.tokenizer.apply_chat_template(
        [
            {"role": "user", "content": QUESTION.content},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"type": "function", "function": {"name": "find_city", "arguments": {"name": "Überlingen"}}}
                ],
            },
        ],
        tools=[
            {
                "type": "function",
                "function": {"name": TOOL.name, "description": TOOL.description, "parameters": dict(TOOL.parameters)},
            }
        ],
        tokenize=False,
        enable_thinking=False,
    )
    assert chat.prompt([QUESTION], [TOOL]) + chat.answer([QUESTION], [TOOL], CALL) == whole.rstrip()


def test_a_conversation_with_results(chat: Chat) -> None:
    messages = [
        QUESTION,
        CALL,
        Message("tool", "47.77 N"),
        Message("assistant", "At 47.77 N."),
        Message("user", "Thanks"),
    ]
    prompt = chat.prompt(messages, [TOOL])
    assert "47.77 N" in prompt
    assert json.dumps("Überlingen", ensure_ascii=False) in prompt


def test_a_begin_token_that_the_tokenizer_adds_is_not_written_twice(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, bos_token="<|endoftext|>")
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    plain = Chat(tokenizer).prompt([QUESTION], [TOOL])
    assert plain.startswith("<|endoftext|>")
    from tokenizers.processors import TemplateProcessing

    begin = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", begin)]
    )
    chat = Chat(tokenizer)
    assert tokenizer(chat.prompt([QUESTION], [TOOL])).input_ids.count(begin) == 1


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "has no chat template"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "leaves out the tools"),
        (
            "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            "leaves out tool calls",
        ),
        (
            "{{ messages | length }}{% for t in tools or [] %}{{ t.function.name }}{% endfor %}",
            "changes the prompt once it is answered",
        ),
        ("{{ raise_exception('no tools here') }}", "refuses a conversation: no tools here"),
    ],
)
def test_a_template_that_cannot_do_it_is_refused(tiny_model: Path, template: str, message: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match=message):
        Chat(tokenizer, "toy")


def test_an_unknown_call_format_is_said_when_a_call_must_be_read(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (
        "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{% for m in messages %}{{ m.content }}"
        "{% for c in m.tool_calls or [] %}call {{ c.function.name }} {{ c.function.arguments }}{% endfor %}{% endfor %}"
    )
    with pytest.raises(ModelError, match="the way its template writes tool calls is not known"):
        Chat(tokenizer).parse("call f", [])
