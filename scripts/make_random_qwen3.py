"""Make a Qwen3 of a few layers with random weights and a real tokenizer, to try a run file without a download.

python scripts/make_random_qwen3.py --tokenizer path/to/qwen3 --output /tmp/random-qwen3 --layers 2

`--tokenizer` is a folder with Qwen3's `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`. The weights
know nothing; the architecture, the vocabulary and the template are the real ones.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM


def make(tokenizer_folder: Path, output: Path, layers: int, hidden: int, seed: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = (tokenizer_folder / "chat_template.jinja").read_text(encoding="utf-8")
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=151_936,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 32),
        num_key_value_heads=max(1, hidden // 64),
        head_dim=32,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    print(f"{output}: {sum(p.numel() for p in model.parameters()):,} parameters, {layers} layers, random weights")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    make(words.tokenizer, words.output, words.layers, words.hidden, words.seed)
