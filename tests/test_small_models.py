"""The run files for small models, checked on tiny models of the same architecture with their real templates."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import trl
from planted_run import plant_questions

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.models.exactness import reason_against
from calltune.models.load import load_model, load_skeleton
from calltune.training.settings import stage_settings

ROOT = Path(__file__).parents[1]
STORED = Path(trl.__path__[0]) / "chat_templates"
SIZES = {
    "vocab_size": 3136,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32768,
    "bos_token_id": None,
}
HEADS = {
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
# What ends an answer of Gemma's; a real tokenizer has these as its own tokens.
ENDS = ["<turn|>", "<|tool_response>", "<tool_call|>", "<end_of_turn>", "<start_function_response>"]
EYES = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
}


def qwen3_5(tokens: dict[str, int]) -> Any:
    """As the Hub has it: the text model inside of one that sees."""
    text = {**SIZES, **HEADS, **tokens, "tie_word_embeddings": True}
    config = transformers.Qwen3_5Config(text_config=text, vision_config=EYES, tie_word_embeddings=True)
    return transformers.Qwen3_5ForConditionalGeneration(config)


def lfm2(tokens: dict[str, int]) -> Any:
    layers = ["conv", "conv", "full_attention", "conv"]
    return transformers.Lfm2ForCausalLM(transformers.Lfm2Config(**SIZES, **tokens, layer_types=layers))


def gemma3(tokens: dict[str, int]) -> Any:
    """FunctionGemma is a Gemma 3 of text alone."""
    layers = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]
    config = transformers.Gemma3TextConfig(**SIZES, **tokens, head_dim=16, sliding_window=64, layer_types=layers)
    return transformers.Gemma3ForCausalLM(config)


def gemma4(tokens: dict[str, int]) -> Any:
    """The small ones have embeddings for each layer, layers that share keys and values, and heads of two sizes."""
    layers = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    text = {**SIZES, **tokens, "head_dim": 16, "global_head_dim": 32, "sliding_window": 64, "layer_types": layers}
    text |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 3136, "num_kv_shared_layers": 2}
    eyes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    eyes |= {"num_key_value_heads": 2, "head_dim": 16}
    return transformers.Gemma4ForConditionalGeneration(transformers.Gemma4Config(text_config=text, vision_config=eyes))


MODELS: dict[str, tuple[Callable[[dict[str, int]], Any], str, str, str]] = {
    "qwen3.5-0.8b": (qwen3_5, "qwen3_5_nothink", "Qwen3_5ForCausalLM", "linear_attn"),
    "qwen3.5-2b": (qwen3_5, "qwen3_5_nothink", "Qwen3_5ForCausalLM", "linear_attn"),
    "lfm2.5-1.2b": (lfm2, "lfm2_2_5", "Lfm2ForCausalLM", "conv"),
    "functiongemma-270m": (gemma3, "functiongemma", "Gemma3ForCausalLM", "self_attn"),
    "gemma-4-e2b": (gemma4, "gemma4_v5", "Gemma4ForConditionalGeneration", "per_layer"),
}


@pytest.fixture
def model(name: str, tiny_model: Path, tmp_path: Path) -> Path:
    make, template, *_ = MODELS[name]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    torch.manual_seed(0)
    folder = tmp_path / "model"
    make({"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}).save_pretrained(str(folder))
    tokenizer.add_special_tokens({"additional_special_tokens": ENDS})
    tokenizer.save_pretrained(str(folder))
    stored = STORED / f"{template}.jinja"
    own = ROOT / "tests" / "material" / "templates" / stored.name
    shutil.copy(stored if stored.exists() else own, folder / "chat_template.jinja")
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_its_model_is_built_and_loaded(name: str, model: Path) -> None:
    *_, architecture, layer = MODELS[name]
    skeleton = load_skeleton(str(model))
    assert type(skeleton).__name__ == architecture
    assert any(layer in key for key in skeleton.state_dict())
    loaded = load_model(str(model), torch.float32)
    assert {*loaded.state_dict()} == {*skeleton.state_dict()}
    reason = "its layers have attention heads of several sizes" if layer == "per_layer" else None
    assert reason_against(loaded) == reason
    config = load_config(ROOT / "examples" / f"when2call-{name}.toml")
    assert config.stages == ("sft", "dpo")
    # Packed rows need a kernel for convolutions that is not installed by default.
    assert not (stage_settings(config, "sft").arguments.packing and layer in ("linear_attn", "conv"))


@pytest.mark.parametrize("name", MODELS)
def test_its_run_file_passes_the_check(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plant_questions(tmp_path / "questions.jsonl", 4)
    words = [
        *("check", str(ROOT / "examples" / f"when2call-{name}.toml"), f"model={model}", "plan.probe_seconds=0"),
        "data.sources=[{name='synthetic', num_examples=40, num_pairs=16, num_questions=8}]",
        "evaluate.benchmarks=[{name='when2call', path='questions.jsonl'}]",
    ]
    assert main(words) == 0
    assert f"INFO: the template of {model} passes its proof" in capsys.readouterr().out
