"""Batches in passes of bounded tokens: what is learned is what whole batches teach."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import forked_rows, some_tokens
from transformers import LlamaConfig, Qwen3MoeConfig

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.config.stages import Stage
from calltune.errors import ConfigError
from calltune.files.tracking import Tracker
from calltune.models.trie import pack
from calltune.training.passes import Passes, _as_many, _num_tokens, _parts, check_passes
from calltune.training.ready import get_ready
from calltune.training.reference import store_reference
from calltune.training.settings import stage_settings
from calltune.training.steps import train
from calltune.training.trainer import make_trainer, share
from calltune.verbs import dpo, sft

Trained = tuple[torch.Tensor, torch.Tensor, Passes | None]
RECIPES = {"sft": sft.RECIPE, "dpo": dpo.RECIPE}
MPO = ["dpo.loss_type=['sigmoid', 'bco_pair', 'sft']", "dpo.loss_weights=[0.8, 0.2, 1.0]", "dpo.beta=0.3"]
# Plain steps: Adam would make a whole step of the rounding of a gradient that is nearly nothing.
STEPS = [f"{stage}.{key}" for stage in RECIPES for key in ("max_steps=3", "optim=sgd", "learning_rate=0.1")]


def pairs() -> list[list[int]]:
    """Chosen rows, then rejected rows; some answers begin alike."""
    rng = random.Random(1)
    chosen = [row for row in forked_rows(1) if len(row) > 5]
    return chosen + [[*row[: -rng.randrange(1, 5)], *some_tokens(rng, rng.randrange(1, 30))] for row in chosen]


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "padded"])
@pytest.mark.parametrize("num_answers", [1, 2])
@pytest.mark.parametrize("bound", [1, 100, 300, 800, 100_000])
def test_parts_stay_within_the_bound(bound: int, num_answers: int, is_shared: bool) -> None:
    rows = pairs() if num_answers == 2 else forked_rows(0)
    count = len(rows) // num_answers
    sizes = [_num_tokens(rows[number::count], is_shared) for number in range(count)]
    parts = _parts(rows, sizes, bound, is_shared)
    assert sorted(number for part in parts for number in part) == list(range(count))
    for part in parts:
        taken = [row for number in part for row in rows[number::count]]
        found = pack(taken).ids.numel() if is_shared else len(taken) * max(map(len, taken))
        assert found <= bound or part == [number for number in part if sizes[number] == found]
    assert len(parts) == {1: count, 100_000: 1}.get(bound, len(parts))


def test_a_process_cuts_further_where_another_has_more_passes() -> None:
    assert _as_many([[2, 0, 1], [3]], 2) == [[0, 1, 2], [3]]
    assert sorted(_as_many([[2, 0, 1], [3]], 4)) == [[0], [1], [2], [3]]
    with pytest.raises(ValueError, match="1 rows cannot be computed in 2 passes"):
        _as_many([[0]], 2)


@pytest.fixture
def weights_after(
    write_run_file: Callable[..., Path],
) -> Callable[..., tuple[torch.Tensor, torch.Tensor, Passes | None]]:
    """Train a stage for some steps: the trained weights after and before them, and the passes."""
    file = write_run_file()
    assert main(["prepare", str(file)]) == 0

    def run(stage: Stage, *overrides: str) -> Trained:
        config = load_config(file, [*STEPS, *overrides])
        settings = stage_settings(config, stage)
        trainer = make_trainer(get_ready(settings, RECIPES[stage], config.run_folder, config.model))
        sharing = share(settings, trainer)
        store_reference(trainer, config.run_folder / "reference", sharing)
        before = trained_weights(trainer.model)
        train(trainer, stage, None, Tracker())
        return trained_weights(trainer.model), before, sharing.passes

    return run


def trained_weights(model: Any) -> torch.Tensor:
    return torch.cat([each.detach().double().flatten() for each in model.parameters() if each.requires_grad])


WAYS = {
    "all weights": [],
    "adapters": ["tuning.method=lora"],
    "padded": ["tuning.share_prefixes=false"],
    "checkpointed": ["sft.gradient_checkpointing=true", "dpo.gradient_checkpointing=true"],
    # The last step of an epoch has a batch of four and one that is no longer whole.
    "accumulated": ["sft.gradient_accumulation_steps=2", "dpo.gradient_accumulation_steps=3"],
    "the reference is TRL's": ["dpo.sync_ref_model=true", "dpo.ref_model_sync_steps=2"],
}


# SFT has no reference.
@pytest.mark.parametrize(
    ("stage", "way"), [(s, w) for s in RECIPES for w in WAYS if (s, w) != ("sft", "the reference is TRL's")]
)
def test_what_is_learned_does_not_depend_on_the_bound(stage: str, way: str, weights_after: Any) -> None:
    asked = [*WAYS[way], *MPO, f"{stage}.per_device_train_batch_size=6"]
    expected, before, none = weights_after(stage, *asked)
    assert none is None
    for bound in (256, 400) if way == "all weights" else (256,):
        found, _, passes = weights_after(stage, *asked, f"launch.tokens_per_batch={bound}")
        assert passes.num_passes > passes.num_steps == 3
        assert passes.num_parted > 0
        assert (found - expected).norm() < 1e-6 * expected.norm()
        assert (found - expected).norm() < 1e-4 * (expected - before).norm()


@pytest.mark.parametrize("stage", RECIPES)
def test_batches_that_fit_go_as_they_are(stage: str, weights_after: Any) -> None:
    expected, *_ = weights_after(stage)
    found, _, passes = weights_after(stage, "launch.tokens_per_batch=100000")
    assert (passes.num_passes, passes.num_steps, passes.num_parted) == (3, 3, 0)
    assert torch.equal(found, expected)


def test_it_is_told_and_is_no_reason_to_train_again(write_run_file: Callable[..., Path], capsys) -> None:
    words = [str(write_run_file()), "stages=['sft']", "sft.max_steps=2"]
    assert main(["prepare", *words]) == 0
    assert main(["sft", *words, "launch.tokens_per_batch=256"]) == 0
    shown = capsys.readouterr().out
    assert "sft: memory for passes of 256 tokens, estimated: " in shown
    assert " passes a step, each of at most 256 tokens\n" in shown
    # Where memory ran out, a resumed run may have a lower bound.
    assert main(["sft", *words, "launch.tokens_per_batch=300"]) == 0
    assert "sft: complete and unchanged, skipped" in capsys.readouterr().out


def test_longer_rows_are_told() -> None:
    passes = Passes(4096, num_steps=10, num_passes=23, num_longer=1)
    assert passes.sentence() == (
        "2.3 passes a step, each of at most 4,096 tokens, but for 1 of a single row or pair that has more"
    )


@pytest.mark.parametrize(
    ("stage", "override", "problem"),
    [
        ("sft", "sft.packing=true", "packed rows are one row of max_length tokens"),
        ("sft", "sft.optim=adalomo", "the optimiser 'adalomo' steps in every backward pass"),
        (
            "dpo",
            "dpo.loss_type=['sigmoid', 'aot', 'sft']",
            "the losses 'aot' and 'aot_unpaired' sort all pairs of a batch",
        ),
        ("dpo", "dpo.use_weighting=true", "'use_weighting' multiplies the loss 'sft' by a mean over the batch"),
    ],
)
def test_what_has_no_parts_is_refused(stage: Any, override: str, problem: str, write_run_file) -> None:
    arguments = stage_settings(load_config(write_run_file(), [*MPO, override]), stage).arguments
    with pytest.raises(ConfigError, match=problem):
        check_passes(4096, arguments, LlamaConfig())
    check_passes(None, arguments, LlamaConfig())


def test_a_balancing_loss_is_refused(write_run_file: Callable[..., Path]) -> None:
    file = write_run_file()
    with pytest.raises(ConfigError, match="set router_aux_loss_coef = 0"):
        check_passes(4096, stage_settings(load_config(file), "sft").arguments, Qwen3MoeConfig())
    config = load_config(file, ["sft.router_aux_loss_coef=0.0"])
    check_passes(4096, stage_settings(config, "sft").arguments, Qwen3MoeConfig())


@pytest.mark.parametrize("others", [["launch.tokens_per_batch=12"], ["launch.strategy=fsdp2"]])
def test_a_wrong_value_is_one_line(others: list[str], write_run_file: Callable[..., Path], capsys) -> None:
    assert main(["sft", str(write_run_file()), "launch.tokens_per_batch=4096", *others]) == 2
    error = capsys.readouterr().err
    assert "tokens_per_batch" in error
    assert error.count("\n") == 1
