"""The trie's layout, the exactness of a packed pass, and the models that are left alone."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transformers
from small_models import ALL_MODELS, MIXED_LAYERS, forked_rows, make_model, some_tokens
from transformers import PreTrainedModel

from calltune.models import blocks
from calltune.models.blocks import blocks_of
from calltune.models.exactness import can_share
from calltune.models.prefix import ATTENTION, backbone_outputs, shared_attention
from calltune.models.trie import Packed, batches, num_shared, pack, places


def num_tokens_packed(rows: Sequence[list[int]]) -> int:
    return len({tuple(row[: place + 1]) for row in rows for place in range(len(row))})


def test_layout() -> None:
    packed = pack([[6], [1, 2, 4, 5], [1, 2], [1, 2, 3], [1, 2, 3]])
    assert packed.ids.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert packed.positions.tolist() == [[0, 1, 2, 2, 3, 0]]
    assert packed.paths == [((5, 6),), ((0, 2), (3, 5)), ((0, 2),), ((0, 3),), ((0, 3),)]
    assert places(packed.paths[1], 1, 4) == [1, 3, 4]


@pytest.mark.parametrize(("left", "right", "count"), [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2, 4], 2)])
def test_num_shared(left: list[int], right: list[int], count: int) -> None:
    assert num_shared(left, right) == count


def visible_pairs(packed: Packed) -> set[tuple[int, int]]:
    """(token, key) as the blocks say it, in places of the packed row."""
    pairs, start = set(), 0
    for block in blocks_of(packed):
        keys = [place for first, last in block.keys for place in range(first, last)]
        visible = torch.ones(block.size, block.size).tril() if block.visible is None else block.visible
        assert visible.shape == (block.size, block.depth + block.size) == (block.size, len(keys))
        pairs |= {(start + row, keys[column]) for row, column in visible.nonzero().tolist()}
        start += block.size
    assert start == packed.ids.shape[1]
    return pairs


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("piece", "block", "slack"), [(5, 12, 10), (64, 256, 10**6), (256, 512, 16_384)])
def test_blocks_see_what_is_above_them_in_the_trie(
    seed: int, piece: int, block: int, slack: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_PIECE_TOKENS", piece)
    monkeypatch.setattr(blocks, "_BLOCK_TOKENS", block)
    monkeypatch.setattr(blocks, "_BLOCK_SLACK", slack)
    rows = forked_rows(seed)
    packed = pack(rows)
    expected = set()
    for row, path in zip(rows, packed.paths, strict=True):
        where = places(path, 0, len(row))
        assert packed.ids[0, where].tolist() == row
        assert packed.positions[0, where].tolist() == list(range(len(row)))
        expected |= {(token, key) for place, token in enumerate(where) for key in where[: place + 1]}
    assert visible_pairs(packed) == expected
    assert packed.ids.shape[1] == num_tokens_packed(rows)


def test_answers_to_one_question_are_one_block() -> None:
    rng = random.Random(0)
    question = some_tokens(rng, 900)
    packed = pack([[*question, number, *some_tokens(rng, 40)] for number in range(4)])
    assert [(block.size, block.depth) for block in blocks_of(packed)] == [(941, 0), (123, 900)]


@pytest.mark.parametrize("tokens_per_batch", [60, 200, 450, 10_000])
def test_batches_stay_within_the_bound(tokens_per_batch: int) -> None:
    rows = [row for seed in range(3) for row in forked_rows(seed)]
    parts = batches(rows, tokens_per_batch)
    assert sorted(number for part in parts for number in part) == list(range(len(rows)))
    for part in parts:
        assert len(part) == 1 or num_tokens_packed([rows[number] for number in part]) <= tokens_per_batch


def test_batches_are_cut_where_least_is_shared() -> None:
    first, second = list(range(1, 21)), [1, 2, *range(30, 50)]
    rows = [[*first, 60], [*first, 61], [*first, 62], [*second, 60], [*second, 61]]
    # Four rows of the five would fit as well, and part two that have nearly all in common.
    assert batches(rows, 44) == [[0, 1, 2], [3, 4]]
    assert batches(rows, 1) == [[0], [1], [2], [3], [4]]
    assert batches([], 10) == []


def largest_error(model: PreTrainedModel, rows: list[list[int]]) -> float:
    packed = pack(rows)
    backbone: Any = model.base_model
    errors = []
    with torch.no_grad():
        with shared_attention(model):
            shared = backbone_outputs(model, packed).last_hidden_state[0]
        for row, path in zip(rows, packed.paths, strict=True):
            plain = backbone(input_ids=torch.tensor([row]), use_cache=False).last_hidden_state[0]
            errors.append((shared[places(path, 0, len(row))] - plain).norm() / plain.norm())
    return float(max(errors))


@pytest.mark.parametrize("name", ALL_MODELS)
def test_states_are_those_of_plain_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family, options = ALL_MODELS[name]
    model = make_model(family, **options)
    assert can_share(model) is None
    rng = random.Random(1)
    unlike = [some_tokens(rng, count) for count in (5, 40)]
    for rows in (forked_rows(5), unlike, unlike[:1]):
        assert largest_error(model, rows) < 5e-6
    monkeypatch.setattr(blocks, "_PIECE_TOKENS", 16)
    monkeypatch.setattr(blocks, "_BLOCK_TOKENS", 24)
    assert largest_error(model, forked_rows(6)) < 5e-6
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("reentrant", [None, True, False])
def test_gradients_are_those_of_plain_rows(reentrant: bool | None) -> None:
    model: Any = make_model("Qwen3").train()
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    rows = [row for row in forked_rows(7) if len(row) > 1]

    def states_of(row: list[int]) -> torch.Tensor:
        return model.base_model(input_ids=torch.tensor([row]), use_cache=False).last_hidden_state[0]

    def backward(states: list[torch.Tensor]) -> tuple[float, torch.Tensor]:
        parts = [
            torch.nn.functional.cross_entropy(model.lm_head(part[:-1]), torch.tensor(row[1:]))
            for part, row in zip(states, rows, strict=True)
        ]
        loss = torch.stack(parts).sum()
        model.zero_grad()
        loss.backward()
        return loss.item(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    plain_loss, plain_gradient = backward([states_of(row) for row in rows])
    packed = pack(rows)
    with shared_attention(model):
        shared = backbone_outputs(model, packed).last_hidden_state[0]
        loss, gradient = backward(
            [shared[places(path, 0, len(row))] for row, path in zip(rows, packed.paths, strict=True)]
        )
    assert loss == pytest.approx(plain_loss, rel=1e-6)
    assert float((gradient - plain_gradient).norm() / plain_gradient.norm()) < 1e-5


@pytest.mark.parametrize(
    ("family", "options", "reason"),
    [
        ("Mamba", {}, "recurrent or convolution"),
        ("MiniMax", {"num_local_experts": 2, "num_experts_per_tok": 1}, "layers that are not known: linear_attention"),
        ("Gemma2", {}, "soft-capped"),
        ("Bloom", {}, "cannot be replaced"),
        ("GptOss", {"num_local_experts": 2}, "cannot be replaced"),
        (
            "Llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "depends on the longest row",
        ),
    ],
)
def test_other_models_are_left_alone(family: str, options: dict[str, Any], reason: str) -> None:
    model = make_model(family, **options)
    before = model.config._attn_implementation
    assert reason in (can_share(model) or "")
    assert model.config._attn_implementation == before


def test_a_model_that_places_tokens_by_itself_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = make_model("Llama")
    rotate = model.model.rotary_emb.forward
    monkeypatch.setattr(
        model.model.rotary_emb, "forward", lambda x, position_ids: rotate(x, torch.arange(x.shape[1])[None])
    )
    assert "other states" in (can_share(model) or "")


def test_a_model_that_hides_its_windows_is_found_out() -> None:
    model: Any = make_model("Gemma3", sliding_window=5, layer_types=MIXED_LAYERS)
    model.model.layers[0].self_attn.sliding_window = None
    assert "how far they see" in (can_share(model) or "")


def test_attention_of_another_kind_is_refused() -> None:
    model: Any = make_model("Llama")
    with shared_attention(model), pytest.raises(ValueError, match="LlamaAttention"):
        model(torch.tensor([[1, 2, 3]]))
    packed = pack([[1, 2, 3], [1, 2, 4]])
    with shared_attention(model), pytest.raises(ValueError, match="softcap"):
        backbone_outputs(model, packed, softcap=50.0)
    assert transformers.AttentionInterface._global_mapping[ATTENTION]
