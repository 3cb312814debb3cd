import shlex
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from calltune.calling.chat import Chat
from calltune.calling.families import family_of
from calltune.calling.serving import serving
from calltune.models.load import load_tokenizer

TEMPLATE = (
    "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}{% if m.tool_calls %}CALLS{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
EACH = "{% for c in m.tool_calls %}CALL{% endfor %}"
JSON = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
NAMED = "{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ k }}={{ v | tojson }}{% endfor %})"
CALLS = {
    "hermes": EACH.replace("CALL", f"<tool_call>\n{JSON}\n</tool_call>"),
    "llama3_json": EACH.replace("CALL", JSON.replace("arguments", "parameters", 1)),
    "pythonic": f"[{EACH.replace('CALL', NAMED)}]",
    "llama4_pythonic": f"<|python_start|>[{EACH.replace('CALL', NAMED)}]<|python_end|>",
    "xlam": f"[{EACH.replace('CALL', JSON)}]",
    "mistral": f"[TOOL_CALLS] [{EACH.replace('CALL', JSON)}]",
    "granite": f"<|tool_call|>[{EACH.replace('CALL', JSON)}]",
    "qwen3_coder": EACH.replace(
        "CALL",
        "<tool_call>\n<function={{ c.function.name }}>\n{% for k, v in c.function.arguments.items() %}"
        "<parameter={{ k }}>\n{{ v }}\n</parameter>\n{% endfor %}</function>\n</tool_call>",
    ),
    "glm45": EACH.replace(
        "CALL",
        "<tool_call>{{ c.function.name }}\n{% for k, v in c.function.arguments.items() %}"
        "<arg_key>{{ k }}</arg_key>\n<arg_value>{{ v }}</arg_value>\n{% endfor %}</tool_call>",
    ),
}


def chat_of(calls: str, tiny_model: Path) -> Chat:
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = TEMPLATE.replace("CALLS", calls)
    return Chat(tokenizer)


@pytest.mark.parametrize("parser", CALLS)
def test_the_parser_follows_from_what_the_template_writes(parser: str, tiny_model: Path) -> None:
    chat = chat_of(CALLS[parser], tiny_model)
    assert family_of(chat).calls.vllm == parser
    assert shlex.split(serving(chat, "a folder").command)[:6] == [
        *("vllm", "serve", "a folder"),
        *("--enable-auto-tool-choice", "--tool-call-parser", parser),
    ]


@pytest.mark.parametrize(
    ("calls", "name"),
    [
        ("<function={{ c.function.name }}>{{ c.function.arguments | tojson }}</function>", "functionary"),
        ("Please run {{ c.function }}.", "unknown"),
    ],
)
def test_where_no_parser_fits_it_is_said(calls: str, name: str, tiny_model: Path) -> None:
    line = serving(chat_of(EACH.replace("CALL", calls), tiny_model), "x")
    assert line.command == """vllm serve x --override-generation-config '{"temperature": 0}'"""
    assert line.note.startswith(f"vLLM has no parser for the way this template writes calls ({name} format)")


def test_what_vllm_misreads_is_said(tiny_model: Path) -> None:
    note = serving(chat_of(CALLS["qwen3_coder"], tiny_model), "x").note
    assert note.startswith("vLLM's parser reads some calls otherwise than they are written: an argument that is null")
    assert serving(chat_of(CALLS["hermes"], tiny_model), "x").note == ""


def test_qwen3_is_served_with_hermes_and_without_thinking(shared_data: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "qwen3")
    for file in sorted((shared_data / "qwen3").glob("chat_template*.jinja")):
        tokenizer.chat_template = file.read_text(encoding="utf-8")
        line = serving(Chat(tokenizer), "qwen")
        assert line.note == ""
        assert line.command == (
            "vllm serve qwen --enable-auto-tool-choice --tool-call-parser hermes "
            """--default-chat-template-kwargs '{"enable_thinking": false}' """
            """--override-generation-config '{"temperature": 0}'"""
        )


def test_a_model_that_thinks_is_served_so(shared_data: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "qwen3")
    tokenizer.chat_template = (shared_data / "qwen3" / "chat_template.jinja").read_text(encoding="utf-8")
    chat = Chat(tokenizer)
    on, both = serving(chat, "qwen", "on"), serving(chat, "qwen", "both")
    # Thinking on is what this template does when nobody says anything.
    assert "chat-template-kwargs" not in on.command + both.command
    assert "--reasoning-parser qwen3 " in on.command
    assert "--reasoning-parser qwen3 " in both.command
    assert "a request says by chat_template_kwargs" in both.note
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "enable_thinking is defined and enable_thinking is false", "not enable_thinking"
    )
    assert """'{"enable_thinking": true, "thinking": true}'""" in serving(Chat(tokenizer), "qwen", "on").command
