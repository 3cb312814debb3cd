"""Layers with a state over packed rows: what begins with what, exactness in float64, and what is found out."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_models import HYBRIDS, forked_rows, make_model, some_tokens
from transformers.models.lfm2 import modeling_lfm2
from transformers.models.qwen3_5 import modeling_qwen3_5

from calltune.models.exactness import can_share
from calltune.models.prefix import backbone_outputs, shared_attention
from calltune.models.state_layers import plan_of, segments_of
from calltune.models.trie import Packed, pack, places


def turns_of_an_agent() -> list[list[int]]:
    """Each row goes on where the one before it ended, but for two that part from it early and late."""
    rng = random.Random(2)
    trace = some_tokens(rng, 400)
    rows = [trace[:stop] for stop in (120, 200, 201, 330, 400)]
    return [*rows, trace[:3] + some_tokens(rng, 90), trace[:260] + some_tokens(rng, 1)]


ROWS = {**{f"forks {seed}": forked_rows(seed) for seed in range(4)}, "turns": turns_of_an_agent(), "one": [[1]]}


def path_of(packed: Packed, number: int) -> list[int]:
    """The places of a segment, after those of all segments above it."""
    segments = segments_of(packed)
    path: list[int] = []
    at: int | None = number
    while at is not None:
        path = segments[at].places.tolist() + path
        at = segments[at].parent
    return path


@pytest.mark.parametrize("name", ROWS)
def test_each_token_is_computed_after_those_above_it(name: str) -> None:
    packed = pack(ROWS[name])
    plan, segments = plan_of(packed), segments_of(packed)
    assert plan.places[plan.back].tolist() == list(range(packed.ids.shape[1]))
    is_above = {(place, other) for path in packed.paths for place, other in _above(places(path, 0, 10**6))}
    ended: set[int] = set()
    for group in plan.groups:
        assert ended.issuperset(group.parents)
        assert group.parents == [
            segments[number].parent for number in group.segments if segments[number].parent is not None
        ]
        assert len(group.parents) in (0, len(group.segments))
        assert group.width > 1
        for number in group.segments:
            path = path_of(packed, number)
            assert packed.positions[0, path].tolist() == list(range(len(path)))
            assert all(pair in is_above for pair in zip(path[1:], path[:-1], strict=True))
        if group.is_inner:
            # What is padded would end in another state.
            assert [group.width] == [len(segments[number].places) for number in group.segments]
            ended |= {*group.segments}
    assert sum(plan.sizes) == len(plan.places)


def _above(path: list[int]) -> Iterator[tuple[int, int]]:
    return zip(path[1:], path[:-1], strict=True)


def test_rows_that_only_go_on_are_not_cut() -> None:
    trace = some_tokens(random.Random(0), 300)
    packed = pack([trace[:100], trace[:200], trace])
    assert [len(each.places) for each in segments_of(packed)] == [300]


def test_answers_to_one_question_are_computed_together() -> None:
    rng = random.Random(0)
    question = some_tokens(rng, 500)
    packed = pack([[*question, number, *some_tokens(rng, 40 + number % 2)] for number in range(6)])
    plan = plan_of(packed)
    assert [(len(group.segments), group.width) for group in plan.groups] == [(1, 500), (6, 42)]
    assert plan.groups[1].parents == [0] * 6


class _Float64:
    """torch, in which what asks for float32 gets float64."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (modeling_qwen3_5, modeling_lfm2):
        monkeypatch.setattr(module, "torch", _Float64())
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("rows", ["forks 2", "turns"])
@pytest.mark.parametrize("name", ["qwen3.5", "lfm2"])
def test_in_float64_hardly_a_digit_differs(name: str, rows: str) -> None:
    family, options = HYBRIDS[name]
    model: Any = make_model(family, **options).double().train()
    weighed = torch.Generator().manual_seed(0)
    weights = [torch.randn(len(row), 32, generator=weighed, dtype=torch.float64) for row in ROWS[rows]]

    def gradient(states: list[torch.Tensor]) -> torch.Tensor:
        model.zero_grad()
        torch.stack([(part * weight).sum() for part, weight in zip(states, weights, strict=True)]).sum().backward()
        return torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])

    plain = [model.base_model(torch.tensor([row]), use_cache=False).last_hidden_state[0] for row in ROWS[rows]]
    expected = gradient(plain)
    packed = pack(ROWS[rows])
    with shared_attention(model):
        shared = backbone_outputs(model, packed).last_hidden_state[0]
        states = [shared[places(path, 0, 10**6)] for path in packed.paths]
        found = gradient(states)
    torch.testing.assert_close(states, plain, rtol=1e-10, atol=1e-10)
    assert float((found - expected).norm() / expected.norm()) < 1e-10


def test_a_kernel_that_begins_with_no_state_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    family, options = HYBRIDS["qwen3.5"]
    model = make_model(family, **options)
    rule = modeling_qwen3_5.torch_chunk_gated_delta_rule
    monkeypatch.setattr(
        modeling_qwen3_5,
        "torch_chunk_gated_delta_rule",
        lambda *heads, initial_state, **others: rule(*heads, initial_state=None, **others),
    )
    assert "other states than plain rows" in (can_share(model) or "")


def test_a_convolution_that_begins_with_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    family, options = HYBRIDS["lfm2"]
    model: Any = make_model(family, **options)
    plain = model.model.layers[2].conv.forward

    def without_state(hidden_states: torch.Tensor, past_key_values: Any = None, **others: Any) -> torch.Tensor:
        if past_key_values is not None:
            past_key_values.conv_states.clear()
        return plain(hidden_states, past_key_values, **others)

    monkeypatch.setattr(model.model.layers[2].conv, "forward", without_state)
    assert "other states than plain rows" in (can_share(model) or "")


@pytest.mark.parametrize("name", HYBRIDS)
def test_layers_are_as_before_afterwards(name: str) -> None:
    family, options = HYBRIDS[name]
    model: Any = make_model(family, **options)
    assert can_share(model) is None
    with shared_attention(model):
        assert sum("forward" in vars(module) for module in model.modules()) == 2
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_layer_takes_a_packed_row_and_nothing_beside_it() -> None:
    family, options = HYBRIDS["lfm2"]
    model: Any = make_model(family, **options)
    packed = pack([[1, 2, 3], [1, 2, 4]])
    hidden = torch.zeros(1, 4, 32)
    with shared_attention(model), pytest.raises(ValueError, match="Lfm2ShortConv is given more"):
        model.model.layers[0].conv(hidden, shared_prefixes=packed, attention_mask=torch.ones(1, 4))
