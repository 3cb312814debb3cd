"""The useful work of a packed row, counted by hand."""

import math

import pytest
import torch
from small_models import make_model

from calltune.models.trie import pack
from calltune.training.flops import Flops, peak_flops

# Of one layer: queries and outputs 32 x 32, keys and values 32 x 16, three matrices of the MLP 32 x 64.
WEIGHTS = 3 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
ROWS = [[1, 2, 3, 4], [1, 2, 3, 5]]


def test_two_flops_a_weight_forward_and_four_backward() -> None:
    found = Flops(make_model("Llama")).of(pack(ROWS))
    # Five tokens see 1, 2, 3, 4 and 4 keys; a score and its use are 4 FLOPs a head and dimension, thrice with backward.
    assert found == pytest.approx(5 * 6 * WEIGHTS + 3 * 12 * 32 * 14)


def test_a_window_bounds_what_is_seen() -> None:
    found = Flops(make_model("Mistral", sliding_window=2)).of(pack(ROWS))
    assert found == pytest.approx(5 * 6 * WEIGHTS + 3 * 12 * 32 * 9)


def test_frozen_weights_have_no_gradient_of_their_own() -> None:
    model = make_model("Llama").requires_grad_(False)
    assert Flops(model).per_token == 4 * WEIGHTS


def test_experts_are_not_counted() -> None:
    model = make_model("Qwen3Moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
    assert math.isnan(Flops(model).of(pack(ROWS)))


def test_a_cpu_has_no_known_peak() -> None:
    assert peak_flops(torch.device("cpu")) is None
