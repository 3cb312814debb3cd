"""Models of a few layers with random weights, of every family that tests of shared prefixes know, and rows for them."""

import random
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
MIXED_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("Qwen3", {}),
    "llama": ("Llama", {}),
    "mistral, all windows full": ("Mistral", {"sliding_window": 4096}),
    "mistral, narrow windows": ("Mistral", {"sliding_window": 7}),
    "gemma3": ("Gemma3", {"sliding_window": 5, "layer_types": MIXED_LAYERS, "final_logit_softcapping": 3.0}),
    "experts": ("Qwen3Moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
}
# With weights as large as those above, float32 alone is off from float64 by more than tests of gradients allow.
_DELTA_RULE = {
    "initializer_range": 0.1,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
HYBRIDS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3.5": ("Qwen3_5", _DELTA_RULE),
    "qwen3 next": (
        "Qwen3Next",
        {**_DELTA_RULE, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention", "conv"]}),
}
ALL_MODELS = MODELS | HYBRIDS


def make_model(family: str, **options: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    names = [f"{family}TextConfig", f"{family}Config"]
    config = next(getattr(transformers, name) for name in names if hasattr(transformers, name))
    return getattr(transformers, f"{family}ForCausalLM")(config(**SIZES | options)).eval()


def some_tokens(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(1, 97) for _ in range(count)]


def forked_rows(seed: int) -> list[list[int]]:
    """Forks inside of forks, a row twice, one inside another, one of one token, and one that shares nothing."""
    rng = random.Random(seed)
    tools = some_tokens(rng, 70)
    question, other = tools + some_tokens(rng, 15), tools[:40] + some_tokens(rng, 300)
    rows = [question + some_tokens(rng, count) for count in (4, 9, 2, 12)]
    rows += [other + some_tokens(rng, 5), other, other, question[:50], some_tokens(rng, 1), some_tokens(rng, 30)]
    rng.shuffle(rows)
    return rows
