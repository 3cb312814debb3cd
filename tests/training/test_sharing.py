"""Shared prefixes on a model's backbone: the loss and gradients of the plain path, and when the plain path is taken."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
from peft import LoraConfig, get_peft_model
from shared_batches import dpo_batch, padded, step, trained
from small_models import ALL_MODELS, forked_rows, make_model, some_tokens
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from calltune.training.labelled_head import score_labels_only
from calltune.training.sharing import ATTENTION, Sharing, share_prefixes


def sft_batch() -> dict[str, torch.Tensor]:
    """Forks inside of forks, a row twice and one inside another; a row without an answer; more padding than needed."""
    rows = [row for row in forked_rows(3) if len(row) > 10]
    return padded(rows, [0, *(3 + number for number in range(len(rows) - 1))], more=9)


def unlike_batch() -> dict[str, torch.Tensor]:
    """Nothing in common but the padding."""
    rng = random.Random(5)
    return padded([[number, *some_tokens(rng, 30 * number)] for number in range(1, 5)], [5, 7, 9, 11])


BATCHES = {"dpo": dpo_batch, "sft": sft_batch, "unlike": unlike_batch}


def assert_equal(found: tuple[float, torch.Tensor, torch.Tensor], expected: tuple[float, torch.Tensor, torch.Tensor]):
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-5)
    assert float((found[2] - expected[2]).norm() / expected[2].norm()) < 1e-5


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", ALL_MODELS)
def test_loss_and_gradients_are_those_of_the_plain_path(name: str, batch: str) -> None:
    model, rows = trained(name), BATCHES[batch]()
    expected = step(model, rows)
    sharing = share_prefixes(model)
    assert_equal(step(model, rows), expected)
    score_labels_only(model)
    assert_equal(step(model, rows), expected)
    assert sharing.off_because is None
    assert sharing.num_computed_tokens < sharing.num_padded_tokens


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", ["qwen3", "gemma3", "qwen3.5", "lfm2"])
def test_checkpointed_layers_run_again_as_they_ran(name: str, reentrant: bool, lora: bool) -> None:
    model = trained(name)
    if lora:
        # Not zero, or the adapter's first matrix would have no gradient.
        config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
        model = get_peft_model(model, config)
    expected = step(model, dpo_batch())
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if lora:
        model.enable_input_require_grads()
    sharing = share_prefixes(model)
    assert_equal(step(model, dpo_batch()), expected)
    score_labels_only(model)
    assert_equal(step(model, dpo_batch()), expected)
    assert sharing.off_because is None
    assert sharing.token_ratio > 2


def test_tokens_are_counted() -> None:
    model = trained("qwen3")
    sharing = share_prefixes(model)
    batch = padded([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7]], [1, 2], more=2)
    step(model, batch)
    with torch.no_grad():
        model(**batch, use_cache=False, fused_lm_head=True)
    assert (sharing.num_padded_tokens, sharing.num_row_tokens, sharing.num_computed_tokens) == (16, 11, 7)
    facts = sharing.facts(2.0, torch.device("cpu"))["shared_prefixes"]
    assert facts["token_ratio"] == pytest.approx(11 / 7, abs=1e-3)
    assert facts["useful_flops_per_second"] == round(sharing.useful_flops / 2)
    assert facts["useful_mfu"] is None
    assert sharing.sentence(2.0, torch.device("cpu")).startswith("shared prefixes: 1.6x fewer tokens; ")


def states(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.base_model(**inputs).last_hidden_state


OTHER_WAYS = {
    "a cache": {"use_cache": True},
    "the default, which may be a cache": {"use_cache": None},
    "positions": {"position_ids": torch.arange(8).repeat(2, 1)},
    "hidden states": {"output_hidden_states": True},
    "padding on the left": {"attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1], [1] * 8])},
    "no mask": {"attention_mask": None},
    "a hole": {"attention_mask": torch.tensor([[1, 1, 0, 1, 1, 1, 1, 1], [1] * 8])},
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_what_is_not_a_plain_batch_takes_the_plain_path(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = make_model("Qwen3")
    batch = {"input_ids": torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 9]]), "use_cache": False}
    batch |= {"attention_mask": torch.ones(2, 8, dtype=torch.long)} | OTHER_WAYS[way]
    expected = states(model, **batch)
    share_prefixes(model)
    monkeypatch.setattr("calltune.training.sharing._packed_outputs", None)
    assert torch.equal(states(model, **batch), expected)


def test_a_batch_with_little_in_common_takes_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = make_model("Qwen3")
    batch = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 6]]), "attention_mask": torch.ones(2, 3), "use_cache": False}
    expected = states(model, **batch)
    share_prefixes(model)
    monkeypatch.setattr("calltune.training.sharing._packed_outputs", None)
    assert torch.equal(states(model, **batch), expected)


def test_the_batch_that_is_checked_goes_the_way_it_always_would() -> None:
    # A resumed run checks another batch than an undisturbed one did, and must come to the same bits.
    model = trained("qwen3")
    batch = {"input_ids": torch.arange(1, 49).view(2, 24), "attention_mask": torch.ones(2, 24), "use_cache": False}
    expected = model.base_model(**batch).last_hidden_state
    sharing = share_prefixes(model, is_whole=False)
    assert torch.equal(model.base_model(**batch).last_hidden_state, expected)
    assert sharing.is_checked


def test_generation_is_as_before() -> None:
    model: Any = make_model("Llama")
    prompt = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]])
    asked = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 6, "do_sample": False}
    expected = model.generate(prompt, **asked)
    share_prefixes(model)
    assert torch.equal(model.generate(prompt, **asked), expected)


def test_nothing_of_it_is_saved(tmp_path: Path) -> None:
    model = make_model("Qwen3")
    share_prefixes(model)
    assert model.config._attn_implementation == ATTENTION
    model.save_pretrained(str(tmp_path))
    assert "calltune" not in (tmp_path / "config.json").read_text()


def test_a_first_batch_with_other_states_turns_it_off_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained("llama")
    sharing = share_prefixes(model, is_whole=False)
    assert not sharing.is_checked
    rotate = model.model.rotary_emb.forward
    monkeypatch.setattr(
        model.model.rotary_emb, "forward", lambda x, position_ids: rotate(x, torch.arange(x.shape[1])[None])
    )
    found = step(model, dpo_batch())
    assert sharing.off_because is not None
    assert "other states than plain rows" in sharing.off_because
    assert_equal(step(model, dpo_batch()), found)
    assert capsys.readouterr().out.count("shared prefixes are off") == 1
    monkeypatch.undo()
    assert_equal(step(model, dpo_batch()), step(trained("llama"), dpo_batch()))


def with_lora_dropout() -> Any:
    return get_peft_model(make_model("Llama"), LoraConfig(lora_dropout=0.1, task_type="CAUSAL_LM"))  # type: ignore


def eager() -> Any:
    model = make_model("Llama")
    model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: make_model("Gemma2"), "soft-capped"),
        (eager, "its attention is 'eager', which is kept"),
        (lambda: make_model("Mamba"), "recurrent"),
        (lambda: make_model("Llama", attention_dropout=0.1), "dropout"),
        (with_lora_dropout, "dropout"),
    ],
)
def test_other_models_are_left_alone(make: Any, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = make()
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = inner.config._attn_implementation
    sharing = share_prefixes(model)
    assert reason in (sharing.off_because or "")
    assert inner.config._attn_implementation == before
    assert "forward" not in vars(inner.base_model)
    assert capsys.readouterr().out.startswith("shared prefixes are off: ")


def test_other_attention_is_replaced() -> None:
    # Such as FlashAttention, where it is installed. What rows have in common counts for more than which kernel it is.
    AttentionInterface.register("of_another_kind", sdpa_attention_forward)
    AttentionMaskInterface.register("of_another_kind", sdpa_mask)
    model = trained("qwen3")
    expected = step(model, dpo_batch())
    model.set_attn_implementation("of_another_kind")
    sharing = share_prefixes(model)
    assert sharing.off_because is None
    assert_equal(step(model, dpo_batch()), expected)
    assert sharing.token_ratio > 2


def test_what_is_off_says_why() -> None:
    assert Sharing("so").sentence(1.0, torch.device("cpu")) == "no prefixes were shared: so"


def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "material" / "two_processes.py"
    ranks = warm.run_together(2, str(script), str(tmp_path))
    assert [rank.returncode for rank in ranks] == [0, 0], ranks
    model, batch = trained("qwen3"), dpo_batch()
    halves = [{name: values[first::2] for name, values in batch.items()} for first in range(2)]
    expected = sum(step(model, half)[2] for half in halves) / 2
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found["computed"] < found["padded"]
        assert float((found["gradient"] - expected).norm() / expected.norm()) < 1e-5
