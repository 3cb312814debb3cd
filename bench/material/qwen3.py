"""A model with Qwen3-0.6B's blocks, few of them, and its tokenizer less its last merges.

The vocabulary is smaller by as much as the blocks are fewer, so that the LM head has the share of the work that it has
among 28 blocks. Weights are random.
"""

import json
import os
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("CALLTUNE_SHARED_DATA") or ROOT.parent / "shared" / "data")
LAYERS, LAYERS_OF_QWEN3 = 2, 28


def vocabulary_for(layers):
    return 151_936 * layers // LAYERS_OF_QWEN3


VOCABULARY = vocabulary_for(LAYERS)


def save_tokenizer(folder, layers=LAYERS):
    """Write the tokenizer; what it is, in words."""
    qwen3 = SHARED / "qwen3"
    if (qwen3 / "tokenizer.json").is_file():
        _smaller_tokenizer(qwen3, folder, vocabulary_for(layers))
        return "the first part of Qwen3's vocabulary"
    AutoTokenizer.from_pretrained(ROOT / "examples" / "tiny-qwen3").save_pretrained(folder)
    return "the quickstart's tokenizer"


def _smaller_tokenizer(qwen3, folder, size):
    """Ids are in the order of the merges, so the last ones can go; special tokens move up."""
    core = json.loads((qwen3 / "tokenizer.json").read_text(encoding="utf-8"))
    special = core["added_tokens"]
    vocabulary = {token: number for token, number in core["model"]["vocab"].items() if number < size - len(special)}
    for number, token in enumerate(special, start=len(vocabulary)):
        token["id"] = number
    pairs = [merge if isinstance(merge, list) else merge.split(" ") for merge in core["model"]["merges"]]
    core["model"] |= {"vocab": vocabulary, "merges": [pair for pair in pairs if "".join(pair) in vocabulary]}
    (folder / "tokenizer.json").write_text(json.dumps(core, ensure_ascii=False), encoding="utf-8")
    settings = json.loads((qwen3 / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("added_tokens_decoder", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    template = (qwen3 / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def save_model(folder, layers=LAYERS, initializer_range=0.02, narrower=1):
    """`narrower` divides the width, the heads and the MLP, for a look in a hurry."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = Qwen3Config(
        vocab_size=vocabulary_for(layers),
        hidden_size=1024 // narrower,
        intermediate_size=3072 // narrower,
        num_hidden_layers=layers,
        num_attention_heads=16 // narrower,
        num_key_value_heads=8 // narrower,
        head_dim=128,
        tie_word_embeddings=True,
        max_position_embeddings=40_960,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=initializer_range,
    )
    Qwen3ForCausalLM(config).save_pretrained(str(folder))
