"""The table of families: told by templates, never by names, and the same facts as the templates show themselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trl
from transformers import AutoTokenizer

from calltune.calling.chat import Chat
from calltune.calling.families import FAMILIES, family_of, prompt_family

STORED = Path(trl.__path__[0]) / "chat_templates"
OWN = Path(__file__).parents[1] / "material" / "templates"
# Of TRL's templates, those that take tools and whose calls are written.
KNOWN = {
    "qwen2_5": "Qwen 2.5, Qwen 3 Instruct 2507, Qwen 3 VL",
    "qwen3": "Qwen 3",
    "qwen3_instruct_2507": "Qwen 2.5, Qwen 3 Instruct 2507, Qwen 3 VL",
    "qwen3_vl": "Qwen 2.5, Qwen 3 Instruct 2507, Qwen 3 VL",
    "qwen3_5_think": "Qwen 3.5, 3.6, 3.8",
    "qwen3_5_nothink": "Qwen 3.5, 3.6, 3.8",
    "qwen3_6": "Qwen 3.5, 3.6, 3.8",
    "qwen3_8": "Qwen 3.5, 3.6, 3.8",
    "nemotron_3_nano": "Nemotron 3, 3.5",
    "nemotron_3_super": "Nemotron 3, 3.5",
    "nemotron_3_ultra": "Nemotron 3, 3.5",
    "nemotron_3_5_lightning": "Nemotron 3, 3.5",
    "lfm2_v2": "LFM2",
    "lfm2_2_5": "LFM2.5",
    "lfm2_2_5_v2": "LFM2.5",
    "lfm2_2_5_vl": "LFM2.5",
    "glm4moe": "GLM 4.5, 4.6",
    "llama3_1": "Llama 3.1, 3.2",
    "llama3_2": "Llama 3.1, 3.2",
    "gemma4": "Gemma 4",
    "gemma4_v5": "Gemma 4",
    "gptoss": "gpt-oss",
}
SWITCHES = ("enable_thinking", "thinking")
QUESTION = [{"role": "user", "content": "How are you?"}]


def chat_with(template: str, tiny_model: Path) -> Chat:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    if "<|eot_id|>" in template:
        tokenizer.add_special_tokens({"eos_token": "<|eot_id|>"})
    tokenizer.chat_template = template
    return Chat(tokenizer)


@pytest.mark.parametrize("name", KNOWN)
def test_a_template_of_trl_is_told_and_shows_what_its_row_says(name: str, tiny_model: Path) -> None:
    template = (STORED / f"{name}.jinja").read_text(encoding="utf-8")
    chat = chat_with(template, tiny_model)
    family = family_of(chat)
    assert family.name == KNOWN[name]
    assert family.call_format in (None, chat.call_format)
    assert family.prompt == prompt_family(template)
    turned = [switch for switch in SWITCHES if turns_thinking(chat, switch)]
    assert turned == ([family.switch] if family.switch else [])
    assert bool(family.thoughts.vllm) >= bool(turned)


def turns_thinking(chat: Chat, switch: str) -> bool:
    def prompt(keys: Mapping[str, Any]) -> str:
        return str(chat.tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True, **keys))

    return prompt({switch: True}) != prompt({switch: False})


def test_a_known_template_has_no_row_of_the_rest_and_every_row_has_its_place() -> None:
    named = [family for family in FAMILIES if not family.name.startswith("another")]
    assert {*KNOWN.values()} < {family.name for family in named}
    # A row without a source says nothing of servers, and the last row takes what no other one does.
    assert all(family.source or family.calls == family.thoughts == type(family.calls)() for family in named)
    assert (FAMILIES[-1].marks, FAMILIES[-1].call_format, FAMILIES[-1].call_mark) == ((), None, "")
    assert len({(family.marks, family.call_format, family.call_mark) for family in named}) == len(named)


@pytest.mark.parametrize(
    ("template", "name", "parser"),
    [
        ("functionary", "another with ChatML with its tools in <tools>", None),
        ("hermes", "Qwen 2.5, Qwen 3 Instruct 2507, Qwen 3 VL", "hermes"),
        ("mistral", "Mistral v3 to v7", "mistral"),
        ("smollm", "Qwen 3", "hermes"),
    ],
)
def test_a_template_of_another_model_is_told_by_its_marks_and_its_call(
    template: str, name: str, parser: str | None, tiny_model: Path
) -> None:
    family = family_of(chat_with((OWN / f"{template}.jinja").read_text(encoding="utf-8"), tiny_model))
    assert (family.name, family.calls.vllm) == (name, parser)


@pytest.mark.parametrize(
    ("template", "family"),
    [
        ("{{ '<|im_start|>system\\n# Tools ... within <tools></tools> XML tags' }}", "qwen2_5"),
        ("{{ '<|im_start|>' }}<tools>{{ tools }}</tools> Use the following pydantic model json schema", "hermes"),
        ("{{ '<|im_start|>' + message.role }}", "default"),
        ("{{ '<|start_header_id|>system<|end_header_id|>' }}Environment: ipython", "llama3_2"),
        ("{{ '<|start_header_id|>' }}ONLY reply in the following format:\\n<function=name>", "functionary"),
        # Some ChatML models write calls as <function=...> too: the turn marks decide.
        ("{{ '<|im_start|>' }}<tools></tools> <tool_call>\\n<function=name>", "qwen2_5"),
        ("{{ '[BEGIN OF TASK INSTRUCTION]' }}{{ '[BEGIN OF AVAILABLE TOOLS]' }}", "xlam"),
        ("<start_of_turn>user", "default"),
        ("", "default"),
    ],
)
def test_nvidias_prompt_is_told_by_the_template(template: str, family: str) -> None:
    assert prompt_family(template) == family


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.2025-04-original.jinja"])
def test_qwen3_is_measured_with_the_prompt_of_qwen2_5(shared_data: Path, name: str) -> None:
    assert prompt_family((shared_data / "qwen3" / name).read_text(encoding="utf-8")) == "qwen2_5"
