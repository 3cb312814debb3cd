"""What is known of families of models that no template says of itself, in one table, with where it was read.

A family is told by marks in a model's chat template and by the call that the template writes, never by the model's
name. Servers are vLLM 0.33.0 and SGLang 0.5.23; a row's `source` is a file of theirs. `tests/gold/make_served_calls.py`
runs their parsers over written calls.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from calltune.calling.calls import CallFormat
from calltune.types import Message, Tool, ToolCall

if TYPE_CHECKING:
    # With transformers behind it, which takes longer than to find a mistake in a run file.
    from calltune.calling.chat import Chat

PromptFamily = Literal["default", "functionary", "hermes", "llama3_2", "qwen2_5", "xlam"]
"""NVIDIA's names of its prompts for When2Call; `qwen2_5` also serves Qwen3, for which there is none."""


@dataclass(frozen=True, slots=True)
class Parsers:
    """The names of parsers in two servers; None where a server has none, or none that is known to fit."""

    vllm: str | None = None
    sglang: str | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Models that are prompted and served alike."""

    name: str
    marks: tuple[str, ...]
    """What all stands in the chat template."""
    call_format: CallFormat | None
    """How the template writes calls; None where this tells nothing apart."""
    call_mark: str = ""
    """What stands in a written call."""
    prompt: PromptFamily = "default"
    """Which of NVIDIA's prompts is nearest to what the template writes: it follows from `marks` alone."""
    calls: Parsers = Parsers()
    thoughts: Parsers = Parsers()
    switch: str | None = None
    """The template's key that turns thinking on and off."""
    source: str = ""


_CHATML = ("<|im_start|>", "<tools>")
_LLAMA = ("<|start_header_id|>",)
_DEEPSEEK = ("<｜tool▁calls▁begin｜>",)  # noqa: RUF001  # DeepSeek's own bars
_MISTRAL: tuple[tuple[str, CallFormat], ...] = (("Mistral v3 to v7", "mistral"), ("Mistral v11 on", "mistral_v11"))

_LISTED = (
    *(
        Family(
            "xLAM 1", (mark,), None, prompt="xlam", calls=Parsers("xlam"), source="vLLM docs/features/tool_calling.md"
        )
        for mark in ("[BEGIN OF AVAILABLE TOOLS]", "[BEGIN OF TASK INSTRUCTION]")
    ),
    # vLLM and SGLang have no parser for `<function=name>{...}`.
    Family("functionary 3.1", (*_LLAMA, "<function="), "functionary", prompt="functionary"),
    Family(
        *("Llama 3.1, 3.2", _LLAMA, "json"),
        prompt="llama3_2",
        calls=Parsers("llama3_json", "llama3"),
        source="vLLM docs/features/tool_calling.md",
    ),
    Family(
        *("Llama 4", ("<|header_start|>",), "pythonic"),
        calls=Parsers("llama4_pythonic", "pythonic"),
        source="vLLM docs/features/tool_calling.md",
    ),
    Family(
        *("Hermes 2, 3", (*_CHATML, "pydantic model json schema"), "hermes"),
        prompt="hermes",
        calls=Parsers("hermes", "hermes"),
        source="vLLM docs/features/tool_calling.md",
    ),
    Family(
        *("Qwen 3", (*_CHATML, "enable_thinking"), "hermes"),
        prompt="qwen2_5",
        calls=Parsers("hermes", "qwen25"),
        thoughts=Parsers("qwen3", "qwen3"),
        switch="enable_thinking",
        source="vLLM recipes/models/Qwen/Qwen3-8B.yaml; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("Qwen 2.5, Qwen 3 Instruct 2507, Qwen 3 VL", _CHATML, "hermes"),
        prompt="qwen2_5",
        calls=Parsers("hermes", "qwen25"),
        source="vLLM docs/features/tool_calling.md, recipes/models/Qwen/Qwen3-235B-A22B-Instruct-2507.yaml",
    ),
    Family(
        *("Nemotron 3, 3.5", (*_CHATML, "truncate_history_thinking", "enable_thinking"), "xml"),
        prompt="qwen2_5",
        calls=Parsers("qwen3_coder", "qwen3_coder"),
        thoughts=Parsers("nemotron_v3", "nemotron_3"),
        switch="enable_thinking",
        source=(
            "vLLM recipes/models/nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16.yaml; "
            "SGLang srt/parser/template_detection.py"
        ),
    ),
    Family(
        *("Qwen 3.5, 3.6, 3.8", (*_CHATML, "enable_thinking"), "xml"),
        prompt="qwen2_5",
        calls=Parsers("qwen3_coder", "qwen3_coder"),
        thoughts=Parsers("qwen3", "qwen3"),
        switch="enable_thinking",
        source="vLLM recipes/models/Qwen/Qwen3.5-0.8B.yaml; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("Qwen 3 Coder", _CHATML, "xml"),
        prompt="qwen2_5",
        calls=Parsers("qwen3_coder", "qwen3_coder"),
        source="vLLM vllm/tool_parsers/__init__.py; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("LFM2.5", ("<|im_start|>", "List of tools", "<think>"), "lfm2"),
        calls=Parsers("lfm2", "lfm2"),
        thoughts=Parsers("qwen3"),
        source="vLLM recipes/models/LiquidAI/LFM2.5-1.2B-Thinking.yaml; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("LFM2", ("<|im_start|>", "List of tools"), "lfm2"),
        calls=Parsers("lfm2", "lfm2"),
        source="vLLM vllm/tool_parsers/lfm2_tool_parser.py; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("GLM 4.5, 4.6", ("[gMASK]<sop>", "enable_thinking"), "glm"),
        calls=Parsers("glm45", "glm45"),
        thoughts=Parsers("glm45", "glm45"),
        switch="enable_thinking",
        source="vLLM recipes/models/zai-org/GLM-4.5.yaml; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("Gemma 4", ("<|channel>", "enable_thinking"), "gemma4"),
        calls=Parsers("gemma4", "gemma4"),
        thoughts=Parsers("gemma4", "gemma4"),
        switch="enable_thinking",
        source="vLLM recipes/models/Google/gemma-4-E2B-it.yaml; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("FunctionGemma", ("<start_function_call>",), "functiongemma"),
        calls=Parsers("functiongemma"),
        source="vLLM docs/features/tool_calling.md",
    ),
    # Its `reasoning_effort` makes thoughts shorter, and none of its values leaves them out.
    Family(
        *("gpt-oss", ("<|channel|>",), "harmony"),
        calls=Parsers("openai", "gpt-oss"),
        thoughts=Parsers("openai_gptoss", "gpt-oss"),
        source="vLLM recipes/models/openai/gpt-oss-20b.yaml; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("DeepSeek V3, R1", _DEEPSEEK, "deepseek_v3"),
        calls=Parsers("deepseek_v3", "deepseekv3"),
        thoughts=Parsers("deepseek_r1", "deepseek-r1"),
        source="vLLM docs/features/tool_calling.md; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("DeepSeek V3.1", (*_DEEPSEEK, "thinking"), "deepseek_v31"),
        calls=Parsers("deepseek_v31", "deepseekv31"),
        thoughts=Parsers("deepseek_v3", "deepseek-v3"),
        switch="thinking",
        source="vLLM recipes/models/deepseek-ai/DeepSeek-V3.1.yaml; SGLang srt/parser/template_detection.py",
    ),
    Family(
        *("Granite 4", ("<|start_of_role|>",), "hermes"),
        calls=Parsers("granite4"),
        source="vLLM docs/features/tool_calling.md",
    ),
    Family(
        *("Granite 3", ("<|start_of_role|>",), "granite"),
        calls=Parsers("granite"),
        source="vLLM docs/features/tool_calling.md",
    ),
    *(
        Family(
            *(name, ("[TOOL_CALLS]",), call_format),
            calls=Parsers("mistral", "mistral"),
            thoughts=Parsers("mistral", "mistral"),
            source="vLLM docs/features/tool_calling.md; SGLang srt/parser/template_detection.py",
        )
        for name, call_format in _MISTRAL
    ),
    Family(
        *("Muse Glimmer", ("<atem:function_calls>",), "atem"),
        calls=Parsers("muse_glimmer", "muse"),
        thoughts=Parsers("muse_glimmer", "muse"),
        source="vLLM recipes/models/meta-models/Muse-Glimmer-30B.yaml",
    ),
)

# A model of no family that is listed: its prompt by the marks of its turns, its parsers by the call that it writes.
_LAYOUTS: tuple[tuple[str, tuple[str, ...], PromptFamily], ...] = (
    ("ChatML with its tools in <tools>", _CHATML, "qwen2_5"),
    ("turns as Llama 3 has them", _LLAMA, "llama3_2"),
    ("turns of another kind", (), "default"),
)
_WRITTEN: tuple[tuple[CallFormat | None, str, Parsers], ...] = (
    # Marks before formats: each of them has a parser of its own.
    (None, "[TOOL_CALLS]", Parsers("mistral", "mistral")),
    (None, "<|python_start|>", Parsers("llama4_pythonic", "pythonic")),
    ("granite", "", Parsers("granite")),
    ("list", "", Parsers("xlam")),
    ("gemma4", "", Parsers("gemma4", "gemma4")),
    ("functiongemma", "", Parsers("functiongemma")),
    ("harmony", "", Parsers("openai", "gpt-oss")),
    ("deepseek_v3", "", Parsers("deepseek_v3", "deepseekv3")),
    ("deepseek_v31", "", Parsers("deepseek_v31", "deepseekv31")),
    ("atem", "", Parsers("muse_glimmer", "muse")),
    ("pythonic", "", Parsers("pythonic", "pythonic")),
    ("hermes", "", Parsers("hermes", "qwen25")),
    ("xml", "", Parsers("qwen3_coder", "qwen3_coder")),
    ("glm", "", Parsers("glm45", "glm45")),
    ("lfm2", "", Parsers("lfm2", "lfm2")),
    ("json", "", Parsers("llama3_json", "llama3")),
    (None, "", Parsers()),
)

FAMILIES: tuple[Family, ...] = (
    *_LISTED,
    *(
        Family(f"another with {name}", marks, call_format, call_mark, prompt, parsers)
        for name, marks, prompt in _LAYOUTS
        for call_format, call_mark, parsers in _WRITTEN
    ),
)
"""The first that fits is a model's own; the last one fits every model."""

MISREAD_BY_VLLM: dict[CallFormat, str] = {
    "xml": "an argument that is null reaches the client as the text 'None'",
    "functiongemma": "arguments that are no texts are lost, and a text of digits becomes a number",
    "gemma4": "numbers, true and null in an object become texts where the tool's schema does not name its properties",
    "atem": "a text of digits becomes a number",
    "mistral_v11": "[CALL_ID] and what follows it is taken for a part of the name",
}
"""What vLLM's parser of a format reads otherwise than it was written, as `tests/gold` has it."""

_QUESTION = Message("user", "q")
_TOOL = Tool("f", "F.", {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
_CALL = Message("assistant", "", (ToolCall("f", {"a": "b"}),))


def family_of(chat: "Chat") -> Family:
    """Return the family of a model.

    Raises:
        ModelError: its template cannot write a call.
    """
    template, written = str(chat.tokenizer.chat_template), chat.answer([_QUESTION], [_TOOL], _CALL)
    return next(
        family
        for family in FAMILIES
        if _has_marks(family, template)
        and family.call_format in (None, chat.call_format)
        and family.call_mark in written
    )


def prompt_family(chat_template: str) -> PromptFamily:
    """Return which of NVIDIA's prompts is nearest to what a chat template writes; `default` when none is near."""
    return next(family.prompt for family in FAMILIES if _has_marks(family, chat_template))


def _has_marks(family: Family, chat_template: str) -> bool:
    return all(mark in chat_template for mark in family.marks)
