"""By which of llama.cpp's rules a tokenizer splits text, for the tokenizers that its converter does not know.

The converter knows a tokenizer by a hash of what it makes of one text, so each vocabulary of one's own is strange to
it, though it splits text as Qwen's or Llama's does. Then the rule is read off `tokenizer.json`. Whether it is the right
one is not taken on trust: the tokens of the run's own prompts are compared before a file is kept.
"""

import json
from pathlib import Path
from typing import Any

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_RULES = {
    (_GPT2,): "gpt-2",
    (r"\p{N}", _GPT2): "smollm",
    (_ENDING + r"\p{N}" + _REST,): "qwen2",
    (_ENDING + r"\p{N}{1,3}" + _REST,): "llama-bpe",
    (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
     r"|\s*[\r\n]+|\s+(?!\S)|\s+",): "qwen35",
}  # fmt: skip


def rule_of(folder: Path) -> str:
    """The rule by which a model's tokenizer splits text; an empty string where no such rule is known."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return ""
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    if tokenizer.get("model", {}).get("type") != "BPE":
        return ""
    return _RULES.get(tuple(_patterns(tokenizer.get("pre_tokenizer"))), "")


def _patterns(step: Any) -> list[str]:
    """The expressions that a text is split by, one after another."""
    if not isinstance(step, dict):
        return ["?"]
    kind = step.get("type")
    if kind == "Sequence":
        return [pattern for each in step.get("pretokenizers", ()) for pattern in _patterns(each)]
    if kind == "ByteLevel" and not step.get("add_prefix_space"):
        return [_GPT2] if step.get("use_regex", True) else []
    if kind == "Digits" and step.get("individual_digits"):
        return [r"\p{N}"]
    pattern = step.get("pattern")
    if kind == "Split" and isinstance(pattern, dict) and not step.get("invert"):
        return [str(pattern.get("Regex") or pattern.get("String"))]
    return ["?"]
