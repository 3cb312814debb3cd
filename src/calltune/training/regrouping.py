"""Answers to one question stand in one batch again, so that their prompt is computed once in the loss, too.

TRL's GRPO trainer shuffles what was drawn before it cuts it into the batches of an optimiser step. So each of them
holds some answers of every group. Where all of these batches make one step, and their losses are sums over rows, it is
all the same to the step which rows stand together. So they are put back side by side.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch


def reason_against_regrouping(arguments: Any) -> str | None:
    """Why TRL's order is kept; None where another one gives the same step."""
    if arguments.gradient_accumulation_steps % arguments.steps_per_generation:
        return "what is drawn at a time makes several steps"
    if arguments.loss_type == "bnpo":
        return "'bnpo' divides by the tokens of each batch"
    if arguments.top_entropy_quantile < 1 or arguments.entropy_coef or arguments.use_adaptive_entropy:
        return "entropies are compared within each batch"
    return None


def keep_groups_together(trainer: Any) -> None:
    """Let a GRPO trainer cut what it drew into batches of whole groups, where its steps stay what they are."""
    asked = trainer.args
    if asked.steps_per_generation == 1 or reason_against_regrouping(asked) or trainer.aux_loss_enabled:
        return
    prepare = trainer._prepare_inputs

    @functools.wraps(prepare)
    def prepare_inputs(batch: Any) -> Any:
        before = trainer._buffered_inputs
        inputs = prepare(batch)
        if not trainer.model.training or trainer._buffered_inputs is before:
            return inputs
        trainer._buffered_inputs = regrouped(trainer._buffered_inputs)
        return trainer._buffered_inputs[trainer._step % asked.steps_per_generation]

    trainer._prepare_inputs = prepare_inputs


def regrouped(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows in as many batches of the same size, those with one prompt side by side.

    Args:
        parts: batches of tensors [rows, ...]; a tensor without rows is the same in each.
    """
    prompts = torch.cat([part["prompt_ids"] for part in parts]).tolist()
    first = {tuple(prompt): number for number, prompt in reversed([*enumerate(prompts)])}
    order = sorted(range(len(prompts)), key=lambda number: (first[tuple(prompts[number])], number))
    size = len(prompts) // len(parts)
    found: list[dict[str, Any]] = [{} for _ in parts]
    for name, values in parts[0].items():
        if values is None or values.ndim == 0:
            for part in found:
                part[name] = values
            continue
        rows = torch.cat([part[name] for part in parts])
        rows = rows[torch.tensor(order, device=rows.device)]
        for number, part in enumerate(found):
            part[name] = rows[number * size : (number + 1) * size]
    return found
