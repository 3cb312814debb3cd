"""Batches whose rows share beginnings, a model with TRL's head, and one step of it."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from small_models import ALL_MODELS, make_model, some_tokens
from trl.trainer.utils import add_fused_lm_head

OUTPUTS = ("log_probs", "entropy", "mean_logits", "is_top1")


def padded(rows: Sequence[list[int]], answers: Sequence[int], more: int = 0) -> dict[str, torch.Tensor]:
    """A batch as TRL's collators make it; the last `answers[i]` tokens of row i are labels."""
    length = max(map(len, rows)) + more
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    labels = ids.clone()
    for number, (row, count) in enumerate(zip(rows, answers, strict=True)):
        labels[number, : len(row) - count] = -100
        labels[number, len(row) :] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def dpo_batch() -> dict[str, torch.Tensor]:
    """Chosen rows, then rejected rows; one rejected answer begins as the chosen one does, one is empty."""
    rng = random.Random(3)
    tools = some_tokens(rng, 60)
    prompts = [tools + some_tokens(rng, count) for count in (8, 15, 3)]
    chosen = [some_tokens(rng, count) for count in (6, 9, 4)]
    rejected = [some_tokens(rng, 7), [*chosen[1][:4], *some_tokens(rng, 3)], []]
    rows = [prompt + answer for answers in (chosen, rejected) for prompt, answer in zip(prompts, answers, strict=True)]
    return padded(rows, [len(answer) for answer in chosen + rejected])


def step(model: Any, batch: dict[str, torch.Tensor]) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The loss, the log-probabilities and all gradients, as TRL's trainers get them."""
    model.zero_grad()
    outputs = model(**batch, use_cache=False, fused_lm_head=True)
    outputs.loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return float(outputs.loss.detach()), outputs.log_probs.detach(), gradient


def trained(name: str) -> Any:
    family, options = ALL_MODELS[name]
    model = make_model(family, **options).train()
    add_fused_lm_head(model, outputs=OUTPUTS)
    return model
