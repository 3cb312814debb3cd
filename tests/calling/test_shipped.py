from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trl
from transformers import AutoTokenizer

from calltune.calling.calls import parse_answer
from calltune.calling.chat import Chat
from calltune.calling.shipped import shipped_template
from calltune.calling.template_proof import prove_template
from calltune.errors import ModelError
from calltune.models.load import load_tokenizer
from calltune.types import Message, Tool, ToolCall

STORED = Path(trl.__path__[0]) / "chat_templates"
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "are a helpful AI assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# Each template without tools, its special tokens, and what its tokenizer calls the end and the beginning.
FAMILIES = {
    "smollm2": (SMOLLM2, ("<|im_start|>", "<|im_end|>"), "<|im_end|>", "<|im_start|>"),
    "gemma": (STORED / "gemma.jinja", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", "<bos>"),
    "gemma3": (STORED / "gemma3.jinja", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", "<bos>"),
    "llama3": (
        STORED / "llama3.jinja",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"),
        "<|end_of_text|>",
        "<|begin_of_text|>",
    ),
    "phi3": (
        STORED / "phi3.jinja",
        ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>", "<s>"),
        "<|endoftext|>",
        "<s>",
    ),
    "zephyr": (ZEPHYR, ("<s>", "</s>"), "</s>", "<s>"),
}
TOOL = Tool("find_city", "Find a city.", {"type": "object", "properties": {"name": {"type": "string"}}})
QUESTION = Message("user", "Where is Überlingen?")
CALL = Message("assistant", "", (ToolCall("find_city", {"name": 'Über"lingen'}),))


def tokenizer_of(tiny_model: Path, family: str) -> Any:
    template, tokens, end, begin = FAMILIES[family]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    tokenizer.eos_token, tokenizer.bos_token = end, begin
    tokenizer.chat_template = template.read_text(encoding="utf-8") if isinstance(template, Path) else template
    return tokenizer


@pytest.fixture(params=list(FAMILIES))
def saved(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> Path:
    """A folder that holds the tokenizer of a family, whose own template knows no tools."""
    tokenizer_of(tiny_model, request.param).save_pretrained(tmp_path / request.param)
    (tmp_path / request.param / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    return tmp_path / request.param


def test_its_proof_is_passed_and_calls_come_back(saved: Path) -> None:
    with pytest.raises(ModelError, match='leaves out the tools; chat_template = "hermes" writes them'):
        Chat(load_tokenizer(str(saved)), "toy")
    chat = Chat(load_tokenizer(str(saved), "hermes"), "toy")
    assert chat.call_format == "hermes"
    assert prove_template(chat) == ()
    answer = chat.answer([QUESTION], [TOOL], CALL)
    assert answer.endswith(chat.tokenizer.eos_token)
    assert parse_answer(chat.strip_end(answer), "hermes").message == CALL


def test_without_tools_it_writes_what_the_models_own_template_writes(saved: Path) -> None:
    own, shipped = load_tokenizer(str(saved)), load_tokenizer(str(saved), "hermes")
    plain = [("user", "One?"), ("assistant", "1."), ("user", "Two?")]
    # Gemma's first template takes no system text.
    for talk in (plain, plain[:1], *([("system", "Be brief."), *plain],) * (saved.name != "gemma")):
        messages = [{"role": role, "content": content} for role, content in talk]
        texts = [
            str(each.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
            for each in (own, shipped)
        ]
        assert texts[0] == texts[1]


def test_results_of_one_turn_stand_together(saved: Path) -> None:
    chat = Chat(load_tokenizer(str(saved), "hermes"), "toy")
    both = Message("assistant", "Wait.", (ToolCall("find_city", {"name": "a"}), ToolCall("find_city", {"name": "b"})))
    results = (Message("tool", "no a"), Message("tool", "no b"))
    written = chat.prompt([QUESTION, both, *results], [TOOL])
    assert "<tool_response>\nno a\n</tool_response>\n<tool_response>\nno b\n</tool_response>" in written
    assert 'Wait.\n<tool_call>\n{"name": "find_city", "arguments": {"name": "a"}}\n</tool_call>\n<tool_call>' in written


def test_a_base_model_with_the_tokens_of_chatml_gets_its_marks(tiny_model: Path) -> None:
    tokenizer = tokenizer_of(tiny_model, "smollm2")
    tokenizer.chat_template = None
    tokenizer.chat_template, end = shipped_template(tokenizer, "hermes", "toy")
    assert end == "<|im_end|>"
    assert Chat(tokenizer, "toy").prompt([QUESTION], []) == (
        "<|im_start|>user\nWhere is Überlingen?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_marks_that_cannot_be_read_off_are_one_line(tiny_model: Path) -> None:
    bare = SimpleNamespace(chat_template=None, get_vocab=lambda: {"a": 0})
    with pytest.raises(ModelError, match="no chat template from which the marks of turns"):
        shipped_template(bare, "hermes", "toy")
    tokenizer = tokenizer_of(tiny_model, "smollm2")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(ModelError, match="no token ends an answer") as caught:
        shipped_template(tokenizer, "hermes", "toy")
    assert len(str(caught.value).splitlines()) == 1
