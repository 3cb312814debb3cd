"""Attention in one call: outputs and gradients are those of blocks, and of plain rows, in float32."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from kernels_on_cpu import run_on_cpu, varlen_attn, varlen_attn_of_old
from shared_batches import dpo_batch, step, trained
from small_models import MODELS, forked_rows, some_tokens

from calltune.models.prefix import packed_attention
from calltune.models.tree_attention import has_varlen
from calltune.models.trie import Packed, Way, pack, places
from calltune.training.labelled_head import score_labels_only
from calltune.training.sharing import share_prefixes

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")


def pairs() -> list[list[int]]:
    """Prompts of one tool list, each with two answers, of which one begins like the other or is empty."""
    rng = random.Random(1)
    tools = some_tokens(rng, 210)
    prompts = [tools + some_tokens(rng, count) for count in (40, 90, 15, 130)]
    chosen = [some_tokens(rng, count) for count in (30, 9, 64, 20)]
    rejected = [some_tokens(rng, 25), chosen[1][:4] + some_tokens(rng, 9), [], some_tokens(rng, 70)]
    return [prompt + answer for side in (chosen, rejected) for prompt, answer in zip(prompts, side, strict=True)]


def rows_of_sft() -> list[list[int]]:
    """Prompts of three tool lists, some with nothing in common."""
    rng = random.Random(2)
    tools = [some_tokens(rng, count) for count in (150, 260, 0)]
    return [tools[number % 3] + some_tokens(rng, rng.randrange(5, 120)) for number in range(9)]


def turns() -> list[list[int]]:
    """Two agents' conversations, each row a turn longer than the one before."""
    rng = random.Random(3)
    tools = some_tokens(rng, 180)
    rows = []
    for _ in range(2):
        row = list(tools)
        for _ in range(6):
            row = row + some_tokens(rng, rng.randrange(10, 70))
            rows.append(row + some_tokens(rng, 8))
    return rows


ROWS: dict[str, Callable[[], list[list[int]]]] = {
    "pairs": pairs,
    "sft": rows_of_sft,
    "turns": turns,
    "forks": lambda: forked_rows(4),
    "one row": lambda: [some_tokens(random.Random(4), 140)],
    "one token": lambda: [[5]],
}


@pytest.mark.parametrize("name", ROWS)
def test_a_token_is_above_those_before_its_end(name: str) -> None:
    packed = pack(ROWS[name]())
    ends, length = packed.ends, packed.ids.shape[1]
    queries, keys = torch.arange(length)[:, None], torch.arange(length)
    expected = torch.zeros(length, length, dtype=torch.bool)
    for row, path in zip(ROWS[name](), packed.paths, strict=True):
        where = torch.tensor(places(path, 0, len(row)))
        expected[where[:, None], where] |= torch.ones(len(row), len(row), dtype=torch.bool).tril()
    assert torch.equal((keys <= queries) & (queries < ends[keys]), expected)


def outcome(attend: Callable[..., torch.Tensor], inputs: list[torch.Tensor], upstream: torch.Tensor) -> Any:
    leaves = [each.clone().requires_grad_() for each in inputs]
    outputs = attend(*leaves)
    return [outputs.detach(), *torch.autograd.grad(outputs, leaves, upstream)]


def by_way(packed: Packed, way: Way, window: int | None) -> Callable[..., torch.Tensor]:
    module = torch.nn.Module()

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        there, heads = replace(packed, way=way, made={}), (query, key, value)
        outputs, _ = packed_attention(module, *heads, None, sliding_window=window, shared_prefixes=there, scaling=0.3)
        return outputs.transpose(1, 2)

    return attend


def by_plain_rows(rows: list[list[int]], packed: Packed, window: int | None) -> Callable[..., torch.Tensor]:
    """Each row by itself; of the tokens that rows share, the first one's outputs are taken."""

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        outputs = torch.zeros_like(query)
        taken: set[int] = set()
        for row, path in zip(rows, packed.paths, strict=True):
            where = places(path, 0, len(row))
            groups = query.shape[1] // key.shape[1]
            part = query[:, :, where]
            keys, values = (each[:, :, where].repeat_interleave(groups, dim=1) for each in (key, value))
            sees = torch.ones(len(row), len(row), dtype=torch.bool).tril()
            sees = sees if window is None else sees.triu(1 - window)
            output = torch.nn.functional.scaled_dot_product_attention(part, keys, values, attn_mask=sees, scale=0.3)
            new = torch.tensor([place for place, token in enumerate(where) if token not in taken], dtype=torch.long)
            taken |= set(where)
            outputs = outputs.index_copy(2, torch.tensor(where)[new], output[:, :, new])
        return outputs

    return attend


@pytest.mark.parametrize(
    ("heads", "window"),
    [((2, 2), None), ((3, 1), None), ((8, 1), None), ((6, 2), 7), ((2, 2), 50), ((8, 1), 300)],
    ids=str,
)
@pytest.mark.parametrize("name", ROWS)
def test_outputs_and_gradients_are_those_of_blocks_and_of_plain_rows(
    name: str, heads: tuple[int, int], window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_cpu(monkeypatch)
    rows = ROWS[name]()
    packed = pack(rows)
    numbers = torch.Generator().manual_seed(0)
    shapes = [(1, count, packed.ids.numel(), 16) for count in (*heads, heads[1], heads[0])]
    *inputs, upstream = (torch.randn(shape, generator=numbers) for shape in shapes)
    expected = [
        outcome(by_way(packed, "blocks", window), inputs, upstream),
        outcome(by_plain_rows(rows, packed, window), inputs, upstream),
    ]
    for way in ("varlen", "flex"):
        found = outcome(by_way(packed, way, window), inputs, upstream)
        for right in expected:
            for ours, theirs in zip(found, right, strict=True):
                assert ours.shape == theirs.shape
                assert float((ours - theirs).norm()) <= 1e-6 * max(1.0, float(theirs.norm()))


def test_a_kernel_of_old_gets_as_many_heads_of_keys_as_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, numbers = pack(pairs()), torch.Generator().manual_seed(0)
    shapes = [(1, count, packed.ids.numel(), 16) for count in (6, 2, 2, 6)]
    *inputs, upstream = (torch.randn(shape, generator=numbers) for shape in shapes)
    found = []
    for kernel in (varlen_attn, varlen_attn_of_old):
        run_on_cpu(monkeypatch, kernel)
        assert has_varlen()
        found.append(outcome(by_way(packed, "varlen", None), inputs, upstream))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    run_on_cpu(monkeypatch, lambda query, key, value, is_causal=False: query)
    assert not has_varlen()


def test_gradients_of_a_shared_key_are_added_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    run_on_cpu(monkeypatch)
    rows = [[1, 2, 3, number] for number in range(4, 90)]
    packed, numbers = pack(rows), torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, 2, packed.ids.numel(), 16, generator=numbers) for _ in range(3)]
    # All of one sign, so that sums grow.
    upstream = torch.ones(1, 2, packed.ids.numel(), 16)
    right = outcome(by_way(packed, "varlen", None), inputs, upstream)[3]
    halves = [each.bfloat16() for each in inputs]
    found = outcome(by_way(packed, "varlen", None), halves, upstream.bfloat16())[3]
    assert float((found.float() - right).norm() / right.norm()) < 0.01


@pytest.mark.parametrize("way", ["varlen", "flex"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_s_step_is_that_of_its_plain_rows(name: str, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    run_on_cpu(monkeypatch)
    model, batch = trained(name), dpo_batch()
    expected = step(model, batch)
    sharing = share_prefixes(model, attention=way)
    score_labels_only(model)
    found = step(model, batch)
    assert sharing.off_because is None
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-5)
    assert float((found[2] - expected[2]).norm() / expected[2].norm()) < 1e-5


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("way", ["varlen", "flex"])
def test_checkpointed_layers_run_again_in_the_same_way(
    way: Way, reentrant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_cpu(monkeypatch)
    model, batch = trained("gemma3"), dpo_batch()
    expected = step(model, batch)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    sharing = share_prefixes(model, attention=way)
    found = step(model, batch)
    assert sharing.way == way
    assert float((found[2] - expected[2]).norm() / expected[2].norm()) < 1e-5


def test_under_autocast_all_heads_come_in_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    # Norms of queries and keys leave them in float32 beside values in bf16, which no kernel takes.
    seen = set()

    def looked_at(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *others: Any, **options: Any) -> Any:
        seen.update((query.dtype, key.dtype, value.dtype))
        return varlen_attn(query, key, value, *others, **options)

    run_on_cpu(
        monkeypatch,
        lambda *inputs, window_size, enable_gqa, scale: looked_at(
            *inputs, window_size=window_size, enable_gqa=enable_gqa, scale=scale
        ),
    )
    model = trained("qwen3")
    sharing = share_prefixes(model, attention="varlen")
    with torch.autocast("cpu", torch.bfloat16):
        step(model, dpo_batch())
    assert sharing.off_because is None
    assert seen == {torch.bfloat16}
