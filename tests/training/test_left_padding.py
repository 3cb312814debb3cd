"""Rows padded on the left: their labels' values are those of the model itself, and prompts are computed once."""

import random
from typing import Any

import pytest
import torch
from shared_batches import trained
from small_models import some_tokens

from calltune.training.labelled_head import score_labels_only
from calltune.training.left_padding import move_left_padding
from calltune.training.sharing import share_prefixes


def group_batch(more: int = 0) -> dict[str, torch.Tensor]:
    """Two questions with three answers each, as TRL's GRPO trainer pads them, and `more` padding on both sides."""
    rng = random.Random(4)
    prompts = [some_tokens(rng, 90), some_tokens(rng, 61)]
    rows = [(prompt, some_tokens(rng, count)) for prompt in prompts for count in (5, 9, 2)]
    left, right = (max(len(row[side]) for row in rows) + more for side in (0, 1))
    ids, mask, labels = [], [], []
    for prompt, answer in rows:
        before, after = left - len(prompt), right - len(answer)
        ids.append([0] * before + prompt + answer + [0] * after)
        mask.append([0] * before + [1] * (len(prompt) + len(answer)) + [0] * after)
        labels.append([-100] * left + answer + [-100] * after)
    named = zip(("input_ids", "attention_mask", "labels"), (ids, mask, labels), strict=True)
    return {name: torch.tensor(values) for name, values in named}


def step(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities, entropies, and the gradient of a sum in which each label has another weight."""
    model.zero_grad()
    outputs = model(**batch, fused_lm_head=True)
    weights = torch.linspace(-1, 1, outputs.log_probs.numel()).view(outputs.log_probs.shape)
    (outputs.log_probs * weights).sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return outputs.log_probs.detach(), outputs.entropy.detach(), gradient


@pytest.mark.parametrize("name", ["qwen3", "llama", "gemma3", "mistral, narrow windows"])
@pytest.mark.parametrize("more", [0, 3])
def test_the_values_are_those_of_the_model_itself(name: str, more: int) -> None:
    batch = group_batch(more)
    plain = step(trained(name), batch)
    model = trained(name)
    sharing = share_prefixes(model)
    assert sharing.off_because is None
    score_labels_only(model)
    move_left_padding(model)
    ours = step(model, batch)
    for mine, theirs in zip(ours[:2], plain[:2], strict=True):
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    assert (ours[2] - plain[2]).norm() <= 1e-4 * plain[2].norm()
    # Each prompt once.
    assert sharing.num_row_tokens == 3 * (90 + 61) + 2 * 16
    assert sharing.num_computed_tokens == 90 + 61 + 2 * 16


def test_what_has_no_padding_on_the_left_or_holes_is_left_as_it_is() -> None:
    model, seen = trained("qwen3"), []
    inner = model.forward
    model.forward = lambda *args, **kwargs: seen.append(kwargs["input_ids"]) or inner(*args, **kwargs)
    move_left_padding(model)
    whole = group_batch()
    full = {key: values[:3, 0:] for key, values in whole.items()}
    model(**full, fused_lm_head=True)
    assert seen[-1] is full["input_ids"]
    hole = {key: values.clone() for key, values in whole.items()}
    hole["attention_mask"][4, 50] = 0
    model(**hole, fused_lm_head=True)
    assert seen[-1] is hole["input_ids"]
    model(**whole, fused_lm_head=True)
    assert seen[-1].shape == (6, 99)
    assert seen[-1] is not whole["input_ids"]
