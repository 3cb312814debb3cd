"""Random calls of a tool with every type of argument, written by a template of each format."""

import random
import string
from pathlib import Path
from typing import Any

import trl
from transformers import AutoTokenizer

from calltune.calling.calls import CallFormat
from calltune.calling.chat import Chat
from calltune.types import Message, Tool, ToolCall

OWN = Path(__file__).parent / "templates"
STORED = Path(trl.__path__[0]) / "chat_templates"
# The template that writes a format, and its tokenizer's end-of-sequence token.
FORMATS: dict[CallFormat, tuple[Path, str]] = {
    "hermes": (STORED / "qwen3.jinja", "<|im_end|>"),
    "json": (STORED / "llama3_1.jinja", "<|eot_id|>"),
    "list": (OWN / "xlam.jinja", "<|im_end|>"),
    "functionary": (OWN / "functionary.jinja", "<|im_end|>"),
    "functionary_v3": (OWN / "functionary_v3.jinja", "<|im_end|>"),
    "xml": (STORED / "qwen3_5_nothink.jinja", "<|im_end|>"),
    "glm": (STORED / "glm4moe.jinja", "<|endoftext|>"),
    "lfm2": (STORED / "lfm2_v2.jinja", "<|im_end|>"),
    "gemma4": (STORED / "gemma4_v5.jinja", "<eos>"),
    "functiongemma": (OWN / "functiongemma.jinja", "<eos>"),
    "harmony": (STORED / "gptoss.jinja", "<|return|>"),
    "atem": (STORED / "muse_glimmer.jinja", "<|eot|>"),
    "deepseek_v3": (OWN / "deepseek_v3.jinja", "<|im_end|>"),
    "deepseek_v31": (OWN / "deepseek_v31.jinja", "<|im_end|>"),
    "mistral": (OWN / "mistral.jinja", "</s>"),
    "mistral_v11": (OWN / "mistral_v11.jinja", "</s>"),
    "granite": (OWN / "granite.jinja", "<|im_end|>"),
}
# What else ends an answer somewhere; a real tokenizer has these as its own tokens.
ENDS = ("<turn|>", "<|tool_response>", "<tool_call|>", "<end_of_turn>", "<start_function_response>", "<|call|>")
TYPES: dict[str, Any] = {
    "text": {"type": "string"},
    "choice": {"enum": ["north", "south"]},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "flag": {"type": "boolean"},
    "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "names": {"type": "array", "items": {"type": "string"}},
    "place": {"type": "object", "properties": {"x": {"type": "number"}}},
}
TOOL = Tool("do_it", "Do it.", {"type": "object", "properties": TYPES})
QUESTION = Message("user", "Do it.")
_LETTERS = string.ascii_letters + string.digits + " .,:;-_äß東🙂'\"\\{}[]()/&%$#@!?=+*"
# Keys stand bare in some formats.
_KEY_LETTERS = string.ascii_letters + string.digits + "_"


def chat_with(tiny_model: Path, template: Path, end: str) -> Chat:
    """Return a chat with a template and a toy tokenizer that has the tokens which end answers."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_special_tokens({"additional_special_tokens": [end, "<|bos|>", *ENDS]})
    tokenizer.eos_token, tokenizer.bos_token = end, "<|bos|>"
    tokenizer.chat_template = template.read_text(encoding="utf-8")
    return Chat(tokenizer, template.stem)


def text_of(chance: random.Random, letters: str = _LETTERS) -> str:
    """Return a text without white space at its ends, which not every format keeps."""
    return "".join(chance.choices(letters, k=chance.randint(1, 12))).strip() or "x"


def call_of(chance: random.Random) -> ToolCall:
    """Return a call with some of the tool's arguments."""
    draw: dict[str, Any] = {
        "text": text_of(chance),
        "choice": chance.choice(["north", "south"]),
        "count": chance.randint(-(10**9), 10**9),
        "ratio": chance.choice([0.5, -2.25, 1e-7, 3.0]),
        "flag": chance.random() < 0.5,
        "maybe": chance.choice([None, 7]),
        "names": [text_of(chance) for _ in range(chance.randint(0, 3))],
        "place": {
            "x": chance.choice([1.5, -4]),
            text_of(chance, _KEY_LETTERS): {"y": [True, None, text_of(chance)]},
        },
    }
    names = chance.sample(list(draw), chance.randint(1, len(draw)))
    return ToolCall("do_it", {name: draw[name] for name in names})
