"""Rules by which tokenizers split text, and what is missing told before anything is paid for."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from calltune.cli import main
from calltune.errors import ModelError
from calltune.models.gguf_packages import require_packages
from calltune.models.gguf_rules import rule_of
from calltune.models.llama_cpp import loaded

SHIPPED = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)


def split(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


@pytest.mark.parametrize(
    ("steps", "rule"),
    [
        ([GPT2], "gpt-2"),
        ([pre_tokenizers.Digits(individual_digits=True), GPT2], "smollm"),
        ([split(r"\p{N}"), GPT2], "smollm"),
        ([split(QWEN), BYTES], "qwen2"),
        ([split(QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")), BYTES], "llama-bpe"),
        ([split(QWEN + "|x"), BYTES], ""),
        ([pre_tokenizers.ByteLevel(add_prefix_space=True)], ""),
        ([pre_tokenizers.Whitespace(), GPT2], ""),
    ],
)
def test_a_rule_is_read_off_the_tokenizer(tmp_path: Path, steps: list[Any], rule: str) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert rule_of(tmp_path) == rule


def test_no_rule_is_made_up(tmp_path: Path) -> None:
    assert rule_of(SHIPPED) == ""
    assert rule_of(tmp_path) == ""
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram"}}), encoding="utf-8")
    assert rule_of(tmp_path) == ""


def test_check_tells_a_missing_package(
    write_run_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    require_packages([])
    assert main(["check", str(write_run_file('[export]\ngguf = ["f16"]'))]) == 2
    line = "export.gguf: needs the package 'xllamacpp': pip install 'calltune[export-gguf]'"
    printed = capsys.readouterr()
    assert line in printed.out + printed.err


def test_only_a_small_format_needs_the_quantiser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ik_llama_cpp", None)
    require_packages(["f16", "q8_0"])
    with pytest.raises(ModelError, match="needs the package 'ik-llama-cpp-python'"):
        require_packages(["q4_k_m"])


def test_a_format_is_named_once(write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(write_run_file('[export]\ngguf = ["f16", "f16"]'))]) == 2
    assert "names a format twice" in capsys.readouterr().err


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(ModelError, match=r"m\.gguf: llama\.cpp does not load it: "), loaded(tmp_path / "m.gguf", 512):
        pass
