"""GGUF files of an export are the model, by llama.cpp itself; a planted fault leaves no file."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from calltune.calling.chat import Chat
from calltune.calling.ollama import ollama_template
from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.errors import ModelError, RunFolderError
from calltune.files.manifest import read_manifest
from calltune.models.gguf_writing import require_space, write_gguf
from calltune.models.llama_cpp import loaded
from calltune.models.load import load_model, load_tokenizer
from calltune.training.gguf_ollama import require_same_text
from calltune.training.gguf_proof import (
    Asked,
    Paired,
    pair,
    require_same_answers,
    require_same_prompts,
    require_same_tokens,
)
from calltune.types import Completion, Message, ToolCall
from calltune.verbs.export_gguf import own_questions

SHIPPED = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
FEW = ["evaluate.benchmarks=[]", "sft.max_steps=1", "export.gguf_questions=4"]
ALL = 'export.gguf=["f16", "q8_0", "q4_k_m"]'


def plant_model(folder: Path) -> Path:
    """A Llama of two layers with random weights, whose tokenizer splits text as GPT-2's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    template = (SHIPPED / "chat_template.jinja").read_text(encoding="utf-8")
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([template], trainer)
    fast: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=template
    )
    fast.save_pretrained(str(folder))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    return folder


def test_the_files_are_proved_described_and_kept(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_run_file(top='chat_template = "hermes"', model=plant_model(tmp_path / "model"))
    for words in (["prepare"], ["sft"]):
        assert main([*words, str(file), *FEW]) == 0
    assert main(["export", str(file), *FEW, ALL]) == 0
    folder = tmp_path / "runs" / "toy" / "export-gguf"
    names = ["Modelfile", "README.md", "manifest.json", *(f"toy-{kind}.gguf" for kind in ("f16", "q4_k_m", "q8_0"))]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    told = read_manifest(folder)["gguf"]
    assert told["num_prompts"] == 48
    assert told["same"]["num_answers"] == 4
    assert told["template_fault"] == told["modelfile_fault"] == ""
    assert set(told["pairs"]) == {"f16", "q8_0", "q4_k_m", "ollama"}
    assert all(each["num_questions"] == 4 for each in told["pairs"].values())
    assert told["notes"]["f16"].endswith("does not know its tokenizer; by its tokenizer.json it splits text as 'gpt-2'")
    said = capsys.readouterr().out
    assert "gguf: the Modelfile's template writes 48 prompts as the model was taught\n" in said
    assert f"export: serve it with: ollama create toy -f {folder / 'Modelfile'} && ollama run toy" in said
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert 'library_name: "gguf"' in card
    assert "| `toy-q4_k_m.gguf` |" in card
    assert (
        (folder / "Modelfile").read_text(encoding="utf-8").startswith("FROM ./toy-q4_k_m.gguf\n# FROM ./toy-f16.gguf")
    )
    assert main(["export", str(file), *FEW, ALL]) == 0
    assert "export: GGUF files complete and unchanged, skipped" in capsys.readouterr().out
    planted_faults(load_config(file, FEW), folder.with_name("export"), tmp_path)


def planted_faults(config: Any, export: Path, place: Path) -> None:
    """Hold the right model's own questions against files that were made of it with one thing wrong."""
    chat, asked = Chat(load_tokenizer(str(export)), "toy"), own_questions(config, 6)
    texts = [each.prompt(chat) for each in asked]
    model = load_model(str(export), torch.float32).eval()

    def wrong(name: str, damage: Callable[[Path], None]) -> Path:
        folder = place / name
        shutil.copytree(export, folder)
        damage(folder)
        write_gguf(folder, place / f"{name}.gguf", place / f"{name}.gguf", "f16")
        return place / f"{name}.gguf"

    def other_template(folder: Path) -> None:
        file = folder / "chat_template.jinja"
        file.write_text(file.read_text(encoding="utf-8").replace("# Tools", "# Functions"), encoding="utf-8")

    def other_tokens(folder: Path) -> None:
        file = folder / "tokenizer.json"
        tokenizer = json.loads(file.read_text(encoding="utf-8"))
        vocabulary = tokenizer["model"]["vocab"]
        one, two = chat.tokenizer.convert_ids_to_tokens([texts_ids[10], texts_ids[11]])
        vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
        file.write_text(json.dumps(tokenizer), encoding="utf-8")

    def other_weights(folder: Path) -> None:
        changed = load_model(str(folder), torch.float32)
        torch.manual_seed(1)
        with torch.no_grad():
            changed.model.layers[0].mlp.down_proj.weight.normal_(std=0.5)
        changed.save_pretrained(str(folder))

    texts_ids = chat.tokenizer(texts[0]).input_ids
    with loaded(wrong("template", other_template), 4096) as file:
        require_same_tokens(chat, file, texts)
        with pytest.raises(ModelError, match=r"llama.cpp writes prompt 1 of 6 .* 'Function' instead of 'Tool'"):
            require_same_prompts(chat, file, asked)
    with loaded(wrong("tokens", other_tokens), 4096) as file, pytest.raises(ModelError, match="has other tokens"):
        require_same_tokens(chat, file, texts)
    with (
        loaded(wrong("weights", other_weights), 4096) as file,
        pytest.raises(ModelError, match=r"the answer to question \d of 6 is another than the model's, where that was"),
    ):
        require_same_answers(model, chat, file, asked)
    template = ollama_template(chat)
    require_same_text(chat, template, asked)
    other = replace(template, text=template.text.replace("# Tools", "# Functions"))
    with pytest.raises(ModelError, match=r"prompt 1 of 6 otherwise than the model was taught: .* 'Function' instead"):
        require_same_text(chat, other, asked)


def test_a_tokenizer_that_llama_cpp_has_no_rule_for_leaves_the_plain_export(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_run_file()
    for words in (["prepare"], ["sft"]):
        assert main([*words, str(file), *FEW]) == 0
    assert main(["export", str(file), *FEW, 'export.gguf=["f16"]']) == 2
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith("export.gguf: toy-f16.gguf: llama.cpp has no rule that splits text as this model's tokenizer does")
    )
    run = tmp_path / "runs" / "toy"
    assert sorted(path.name for path in run.iterdir() if "export" in path.name) == ["export"]


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(RunFolderError, match=r"GGUF files need about 0.00 GB on the disk, and 0.00 GB are free"):
        require_space(tiny_model, ["f16", "q8_0"], tmp_path / "not" / "there")


def test_answers_are_counted_in_pairs() -> None:
    call, other = (Message("assistant", "", (ToolCall("f", {"a": value}),)) for value in (1, 2))
    text = Message("assistant", "It is noon.")

    def answers(*messages: Message | None) -> list[Completion]:
        return [Completion("", each, "", "ok" if each else "malformed") for each in messages]

    asked = [Asked("", (), (), call, "tool_call")] * 3 + [Asked("", (), (), text, "direct")] * 2
    found = pair(asked, answers(call, call, other, text, None), answers(call, other, call, call, None))
    assert found == Paired(5, same_decisions=4, same_calls=1, num_calls=4, right=2, right_f16=3, lost=2, gained=1)
    assert not found.is_worse
    assert replace(found, lost=9, gained=1).is_worse
    assert not replace(found, lost=1, gained=9).is_worse
