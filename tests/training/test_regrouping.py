"""Answers to one question stand together again, and a step is what it was."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from calltune.training.regrouping import keep_groups_together, reason_against_regrouping, regrouped


def parts() -> list[dict[str, Any]]:
    """Three batches of two rows, as TRL shuffles two groups of three; each row's values tell its number."""
    prompts = torch.tensor([[0, 7], [5, 6], [5, 6], [0, 7], [0, 7], [5, 6]])
    numbers = torch.arange(6)
    total = torch.tensor(42)
    return [
        {
            "prompt_ids": prompts[start : start + 2],
            "completion_ids": numbers[start : start + 2, None].expand(2, 3),
            "advantages": numbers[start : start + 2].float(),
            "num_items_in_batch": total,
            "num_images": None,
        }
        for start in (0, 2, 4)
    ]


def test_the_same_rows_stand_by_their_prompts() -> None:
    found = regrouped(parts())
    assert [part["advantages"].tolist() for part in found] == [[0, 3], [4, 1], [2, 5]]
    for part in found:
        assert part["completion_ids"][:, 0].tolist() == part["advantages"].tolist()
        assert part["completion_ids"].shape == (2, 3)
        assert part["num_items_in_batch"] == 42
        assert part["num_images"] is None
    assert [part["prompt_ids"][:, 1].tolist() for part in found] == [[7, 7], [7, 6], [6, 6]]


def arguments(**changed: Any) -> Any:
    asked = {"gradient_accumulation_steps": 3, "steps_per_generation": 3, "loss_type": "dapo"}
    entropies = {"top_entropy_quantile": 1.0, "entropy_coef": 0.0, "use_adaptive_entropy": False}
    return SimpleNamespace(**{**asked, **entropies, **changed})


@pytest.mark.parametrize(
    ("changed", "is_kept"),
    [
        ({}, False),
        ({"gradient_accumulation_steps": 6}, False),
        ({"loss_type": "grpo"}, False),
        ({"gradient_accumulation_steps": 1}, True),
        ({"steps_per_generation": 6}, True),
        ({"loss_type": "bnpo"}, True),
        ({"top_entropy_quantile": 0.2}, True),
        ({"entropy_coef": 0.01}, True),
        ({"use_adaptive_entropy": True}, True),
    ],
)
def test_trls_order_is_kept_where_a_step_would_be_another(changed: dict[str, Any], is_kept: bool) -> None:
    assert bool(reason_against_regrouping(arguments(**changed))) == is_kept


def test_what_is_drawn_is_regrouped_once_and_validation_is_left() -> None:
    drawn, trainer = [], SimpleNamespace(args=arguments(), aux_loss_enabled=False, _buffered_inputs=None, _step=0)
    trainer.model = SimpleNamespace(training=True)

    def prepare(batch: Any) -> Any:
        if not trainer.model.training:
            return batch
        if trainer._step % 3 == 0:
            drawn.append(batch)
            trainer._buffered_inputs = parts()
        return trainer._buffered_inputs[trainer._step % 3]

    trainer._prepare_inputs = prepare
    keep_groups_together(trainer)
    seen = []
    for trainer._step in range(3):
        seen.append(trainer._prepare_inputs("questions")["advantages"].tolist())
    assert seen == [[0, 3], [4, 1], [2, 5]]
    assert len(drawn) == 1
    trainer.model.training = False
    assert trainer._prepare_inputs("held out") == "held out"
