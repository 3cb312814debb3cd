"""What a model's layers are, and how wide their attention is."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from calltune.models.layer_kinds import attention_heads, is_hybrid, layer_kinds
from calltune.training.flops import Flops
from calltune.training.memory import shape_of

GEMMA_4 = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 32,
    "vocab_size": 64,
    "vocab_size_per_layer_input": 64,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 0,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def gemma_4():
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma4_text", **GEMMA_4))


def test_layers_of_one_model_may_have_heads_of_two_sizes(gemma_4) -> None:
    kinds = layer_kinds(gemma_4)
    sizes = {"sliding_attention": (4, 2, 16), "full_attention": (4, 2, 32)}
    assert set(kinds) == set(sizes)
    assert attention_heads(gemma_4.config) == [sizes[kind] for kind in kinds]
    for kind, layer in zip(kinds, gemma_4.model.layers, strict=True):
        assert layer.self_attn.q_proj.out_features == 4 * sizes[kind][2]


def test_such_a_model_is_measured(gemma_4) -> None:
    sliding = layer_kinds(gemma_4).count("sliding_attention")
    assert shape_of(gemma_4).queries == 4 * 32
    run = SimpleNamespace(depth=0, start=0, stop=4)
    flops = Flops(gemma_4)
    scores = (1 + 2 + 3 + 4) * 12 * 4 * (16 * sliding + 32 * (6 - sliding))
    assert flops.of(SimpleNamespace(runs=[run])) == pytest.approx(flops.per_token * 4 + scores)


def test_layers_without_attention_score_nothing() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    more = {"num_key_value_heads": 2, "vocab_size": 64, "layer_types": ["conv", "full_attention", "conv"]}
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("lfm2", **sizes, **more, block_auto_adjust_ff_dim=False)
    )
    assert is_hybrid(model)
    flops = Flops(model)
    run = SimpleNamespace(depth=0, start=0, stop=2)
    assert flops.of(SimpleNamespace(runs=[run])) == pytest.approx(flops.per_token * 2 + (1 + 2) * 12 * 4 * 8)
