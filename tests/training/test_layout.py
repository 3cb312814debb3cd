"""Batches that are laid out where they are collated: what comes of it is what the forward pass made of them before."""

import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from kernels_on_cpu import run_on_cpu
from shared_batches import dpo_batch, padded, step, trained
from small_models import ALL_MODELS, MODELS, make_model, some_tokens
from trl.trainer.utils import FusedCausalLMOutput

from calltune.models.trie import Way
from calltune.training.collating import LayOut, layout_of_batch
from calltune.training.labelled_head import score_labels_only
from calltune.training.layout import KEY, BatchLayout, batch_of, laid_out, layout_of
from calltune.training.passes import taken
from calltune.training.sharing import Sharing, share_prefixes

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
Batch = dict[str, torch.Tensor]
Outcome = tuple[float, torch.Tensor, torch.Tensor]


def sft_batch() -> Batch:
    """Prompts of two tool lists, one row twice, one without an answer, and more padding than is needed."""
    rng = random.Random(2)
    tools = [some_tokens(rng, count) for count in (150, 60)]
    rows = [tools[number % 2] + some_tokens(rng, rng.randrange(5, 90)) for number in range(7)]
    return padded([*rows, rows[2]], [0, *range(2, 9)], more=5)


def turns_batch() -> Batch:
    """An agent's conversation, each row a turn longer than the one before."""
    rng = random.Random(3)
    rows, row = [], some_tokens(rng, 80)
    for _ in range(6):
        row = row + some_tokens(rng, rng.randrange(10, 40))
        rows.append(row + some_tokens(rng, 8))
    return padded(rows, [8] * len(rows))


BATCHES: dict[str, Callable[[], Batch]] = {"pairs": dpo_batch, "sft": sft_batch, "turns": turns_batch}


def with_layout(model: Any, batch: Batch, layout: BatchLayout) -> Outcome:
    with laid_out(batch, layout, layout.parts[0]):
        return step(model, batch)


def shared(name: str, way: Way) -> tuple[Any, Sharing]:
    model = trained(name)
    sharing = share_prefixes(model, attention=way)
    score_labels_only(model)
    return model, sharing


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("way", ["blocks", "varlen", "flex"])
@pytest.mark.parametrize("name", [*MODELS, "qwen3.5", "lfm2"])
def test_a_step_is_that_of_the_forward_pass_s_own_layout(
    name: str, way: Way, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_cpu(monkeypatch)
    rows = BATCHES[batch]()
    plain = step(trained(name), rows)
    model, sharing = shared(name, way)
    expected = step(model, rows)
    # As it comes from another process.
    layout = pickle.loads(pickle.dumps(layout_of_batch(rows, None, is_shared=True)))
    for _ in range(2):
        found = with_layout(model, rows, layout)
        assert found[0] == expected[0]
        assert torch.equal(found[1], expected[1])
        assert torch.equal(found[2], expected[2])
        assert float((found[2] - plain[2]).norm() / plain[2].norm()) < 1e-5
    assert sharing.off_because is None
    assert sharing.way == way
    assert sharing.num_row_tokens == 3 * int(rows["attention_mask"].sum())
    assert sharing.num_computed_tokens % 3 == 0
    # It is the layout that was computed with.
    layout.longs.zero_()
    assert with_layout(model, rows, layout)[0] != expected[0]


def empty_varlen(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *others: Any, **options: Any) -> Any:
    """Attention of the right shape, which reads nothing."""
    return query + (key.sum() + value.sum())


def plain_head(model: Any) -> Any:
    """What TRL's head does, which looks for labels by itself, without a look at any number."""

    def forward(input_ids: Any, attention_mask: Any, labels: Any, shift_labels: Any, fused_lm_head: bool) -> Any:
        states = model.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        found = model.lm_head(states).log_softmax(-1).gather(-1, shift_labels[..., None])
        return FusedCausalLMOutput(log_probs=found[..., 0])

    return forward


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("way", ["blocks", "varlen"])
@pytest.mark.parametrize("name", ["qwen3", "mistral, narrow windows", "qwen3.5", "lfm2"])
def test_no_number_of_a_batch_is_asked_for(name: str, way: Way, batch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch's device without numbers, each look at one is an error, as on a GPU it would be a wait."""
    run_on_cpu(monkeypatch)
    rows = BATCHES[batch]()
    family, options = ALL_MODELS[name]
    model: Any = make_model(family, **options).train()
    sharing = share_prefixes(model, attention=way)
    model.forward = plain_head(model)
    score_labels_only(model)
    layout = layout_of_batch(rows, None, is_shared=True)
    # The first batch is looked at.
    with laid_out(rows, layout, layout.parts[0]):
        model(**rows, fused_lm_head=True)
    run_on_cpu(monkeypatch, empty_varlen)
    model.to("meta")
    there = {name: values.to("meta") for name, values in rows.items()}
    layout = layout.to("meta")
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        model(**there, fused_lm_head=True)
    num_computed = sharing.num_computed_tokens
    with laid_out(there, layout, layout.parts[0]):
        outputs = model(**there, fused_lm_head=True)
    outputs.log_probs.sum().backward()
    assert outputs.log_probs.shape == (rows["input_ids"].shape[0], rows["input_ids"].shape[1] - 1)
    assert model.model.layers[1].self_attn.q_proj.weight.grad is not None
    assert sharing.num_computed_tokens > num_computed


def test_a_layout_is_of_its_batch_alone() -> None:
    batch = dpo_batch()
    layout = layout_of_batch(batch, None, is_shared=True)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert layout_of(ids, mask) is None
    with laid_out(batch, layout, layout.parts[0]):
        assert layout_of(ids, mask) is not None
        # Wrappers make new tensors over the same numbers.
        assert layout_of(ids.view(ids.shape), mask.detach()) is not None
        for others in ((ids.clone(), mask), (ids, mask.clone()), (ids[:2], mask[:2]), (ids.T, mask.T), (None, mask)):
            assert layout_of(*others) is None
    assert layout_of(ids, mask) is None


def test_other_labels_than_the_batch_s_are_looked_up(capsys: pytest.CaptureFixture[str]) -> None:
    batch = sft_batch()
    layout = layout_of_batch(batch, None, is_shared=True)
    others = batch | {"labels": batch["labels"].roll(1, dims=1)}
    expected = step(trained("qwen3"), others)
    model, _ = shared("qwen3", "blocks")
    for _ in range(2):
        found = with_layout(model, others, layout)
        assert found[0] == pytest.approx(expected[0], rel=1e-6)
        assert float((found[2] - expected[2]).norm() / expected[2].norm()) < 1e-5
    assert (
        capsys.readouterr().out
        == "the trainer learns other labels than its batches hold; they are looked up in each step\n"
    )


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "padded"])
@pytest.mark.parametrize("name", BATCHES)
def test_the_parts_of_a_batch_are_its_passes(name: str, is_shared: bool) -> None:
    batch = BATCHES[name]()
    if name == "pairs":
        batch["completion_mask"] = (batch.pop("labels") != -100).long()
        batch["ref_chosen_logps"] = torch.arange(3.0)
    layout = layout_of_batch(batch, 110, is_shared)
    assert len(layout.parts) > 1
    count = len(batch["input_ids"]) // (2 if name == "pairs" else 1)
    assert sorted(number for part in layout.parts for number in part.numbers) == list(range(count))
    assert layout.num_chosen == sum(part.num_chosen for part in layout.parts)
    for part in layout.parts:
        expected = taken(batch, part.numbers)
        found = batch_of(layout, part, batch)
        assert found.keys() == expected.keys()
        for key, values in expected.items():
            assert torch.equal(found[key], values)
        assert part.num_row_tokens == int(expected["attention_mask"].sum())
        assert (part.layout is not None) is is_shared


def test_a_batch_that_is_padded_on_the_left_comes_without() -> None:
    batch = dpo_batch()
    left = {name: values.flip(1) for name, values in batch.items()}
    assert LayOut(lambda rows: left, None, is_shared=True)([]) is left
    assert isinstance(LayOut(lambda rows: batch, None, is_shared=True)([])[KEY], BatchLayout)
    none = {"input_ids": torch.zeros(2, 0), "attention_mask": torch.zeros(2, 0)}
    assert LayOut(lambda rows: none, None, is_shared=True)([]) is none
