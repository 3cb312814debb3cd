"""An Ollama template writes what the model's own template writes; Go itself renders it."""

import json
from pathlib import Path

import pytest

from calltune.calling.chat import Chat
from calltune.calling.ollama import modelfile, ollama_template
from calltune.calling.ollama_json import is_joined_by_ollama, ollama_values
from calltune.errors import ModelError
from calltune.models.go_templates import render_all
from calltune.models.load import load_tokenizer
from calltune.types import Message, Tool, ToolCall

TEMPLATES = Path(__file__).parents[1] / "material" / "templates"
SHIPPED = Path(__file__).parents[2] / "examples" / "tiny-qwen3" / "chat_template.jinja"
TOOL = Tool(
    "find_city",
    "Find <a city> & more.",
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "format": "city"},
            "near": {"type": ["number"], "items": {"b": 1, "a": 2}},
        },
        "required": ["name"],
        "additionalProperties": False,
    },
)
OTHER = Tool("now", "The time.", {"type": "object", "properties": {}})
RULES, QUESTION = Message("system", "Be brief."), Message("user", 'Where is "Überlingen"? {{ .Tools }}')
CALL = Message("assistant", "", (ToolCall("find_city", {"name": 'Über"lingen', "near": [1, 2.5, None]}),))
BOTH = Message("assistant", "", (*CALL.tool_calls, ToolCall("now", {})))
SAID = Message("assistant", "I look.", CALL.tool_calls)
RESULT, TEXT = Message("tool", '{"at": "47.77 N"}'), Message("assistant", "It is by the lake.")
TALKS = {
    "a question": (QUESTION,),
    "rules": (RULES, QUESTION),
    "talk": (RULES, QUESTION, TEXT, QUESTION),
    "a result": (QUESTION, CALL, RESULT),
    "an answer to it": (RULES, QUESTION, CALL, RESULT, TEXT, QUESTION),
    "a question after it": (QUESTION, CALL, RESULT, QUESTION),
    "two calls": (QUESTION, BOTH, RESULT, RESULT),
    "text beside a call": (QUESTION, SAID, RESULT, TEXT, QUESTION, CALL, RESULT),
}


def chat_of(folder: Path, template: str) -> Chat:
    tokenizer = load_tokenizer(str(folder))
    tokenizer.chat_template = template
    return Chat(tokenizer, "toy")


@pytest.mark.parametrize("file", [SHIPPED, TEMPLATES / "hermes.jinja"], ids=["shipped", "hermes"])
def test_go_writes_what_the_model_was_taught(tiny_model: Path, file: Path) -> None:
    chat = chat_of(tiny_model, file.read_text(encoding="utf-8"))
    template = ollama_template(chat)
    cases = [(talk, tools) for talk in TALKS.values() for tools in ((), (TOOL,), (TOOL, OTHER))]
    written = render_all(template.text, [template.values(*case) for case in cases])
    assert written == [chat.prompt(*case) for case in cases]


def test_what_closes_a_template_or_begins_an_action_is_only_text(tiny_model: Path) -> None:
    odd = SHIPPED.read_text(encoding="utf-8").replace("'Tools:\\n'", '\'Tools """ {{ .Odd }} {\\n{\'')
    assert "{{ .Odd }}" in odd
    chat = chat_of(tiny_model, odd)
    template = ollama_template(chat)
    assert '"""' not in template.text
    assert render_all(template.text, [template.values((QUESTION,), (TOOL,))]) == [chat.prompt((QUESTION,), (TOOL,))]


def test_a_format_that_ollama_does_not_read_is_refused(tiny_model: Path) -> None:
    chat = chat_of(tiny_model, (TEMPLATES / "functiongemma.jinja").read_text(encoding="utf-8"))
    with pytest.raises(ModelError, match=r"Ollama reads no calls as .* \(functiongemma\)"):
        ollama_template(chat)


def test_ollama_hands_over_what_it_has_fields_for() -> None:
    values = ollama_values((QUESTION, CALL), (TOOL,))
    function = values["Tools"][0]["Function"]
    assert function == (
        '{"name":"find_city","description":"Find \\u003ca city\\u003e \\u0026 more.","parameters":{"type":"object",'
        '"required":["name"],"properties":{"name":{"type":"string"},"near":{"type":"number","items":{"a":2,"b":1}}}}}'
    )
    assert (
        values["Messages"][1]["ToolCalls"][0]["Function"]["Arguments"] == '{"name":"Über\\"lingen","near":[1,2.5,null]}'
    )


@pytest.mark.parametrize(
    ("talk", "joined"),
    [
        ((RULES, QUESTION, CALL, RESULT, RESULT), False),
        ((QUESTION, QUESTION), True),
        ((QUESTION, RULES), True),
        ((TEXT, QUESTION), True),
    ],
)
def test_conversations_that_ollama_changes_are_known(talk: tuple[Message, ...], joined: bool) -> None:
    assert is_joined_by_ollama(talk) is joined


def test_a_modelfile_serves_the_last_file(tiny_model: Path) -> None:
    template = ollama_template(chat_of(tiny_model, SHIPPED.read_text(encoding="utf-8")))
    text = modelfile(template, ["m-f16.gguf", "m-q8_0.gguf"], ["<|im_end|>"], 4096)
    assert text.startswith('FROM ./m-q8_0.gguf\n# FROM ./m-f16.gguf\nTEMPLATE """{{ $before')
    assert text.endswith('"""\nPARAMETER stop "<|im_end|>"\nPARAMETER temperature 0\nPARAMETER num_ctx 4096\n')
    # Ollama takes the first text behind this for the mark of a call.
    assert "{{ if .ToolCalls }}<tool_call>\n" in text


def test_a_template_that_go_cannot_read_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"Go does not read the template: .*missing value for if"):
        render_all("{{ if }}", [json.loads("{}")])
