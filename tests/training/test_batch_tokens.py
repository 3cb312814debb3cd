"""How many tokens a stage's batches hold, beside the batches that its trainer then draws."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import forked_rows

from calltune.config.run_file import load_config
from calltune.models.trie import pack
from calltune.training.batch_tokens import _order, _sampled, batch_tokens, num_distinct
from calltune.training.ready import Ready, get_ready
from calltune.training.settings import stage_settings
from calltune.training.trainer import group, make_trainer
from calltune.verbs import dpo, prepare, sft

RECIPES: dict[Any, Any] = {"sft": sft.RECIPE, "dpo": dpo.RECIPE}


@pytest.fixture
def make_ready(write_run_file: Callable[..., Path]) -> Callable[..., Ready]:
    def made(stage: Any, *overrides: str) -> Ready:
        words = ["data.sources.0.num_examples=40", "data.sources.0.num_pairs=24", *overrides]
        config = load_config(write_run_file(), words)
        prepare.run(config)
        return get_ready(stage_settings(config, stage), RECIPES[stage], config.run_folder, config.model)

    return made


def rows_of(batch: Any) -> list[list[int]]:
    return [ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]


@pytest.mark.parametrize("seed", range(4))
def test_distinct_tokens_are_those_of_the_packed_row(seed: int) -> None:
    rows = forked_rows(seed)
    assert num_distinct(rows) == pack(rows).ids.numel()
    assert num_distinct([[1, 2, 3]] * 3) == 3
    assert num_distinct([[1, 2, 3], [1, 2], [5]]) == 4


@pytest.mark.parametrize("overrides", [[], ["data.group_by=tools"], ["seed=7", "STAGE.data_seed=3"]])
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_batches_are_those_of_the_first_epoch(
    stage: str, overrides: list[str], make_ready: Callable[..., Ready]
) -> None:
    size = f"{stage}.per_device_train_batch_size=5"
    ready = make_ready(stage, size, *[override.replace("STAGE", stage) for override in overrides])
    trainer = make_trainer(ready)
    group(ready.settings, trainer, ready.rows)
    drawn = [sorted(rows_of(batch)) for batch in trainer.get_train_dataloader()]
    looked_at = [sorted(batch) for batch in _sampled(ready.settings, ready.chat, ready.rows)]
    assert looked_at == drawn
    found = batch_tokens(ready.settings, ready.plan.skeleton, ready.chat, ready.rows)
    assert found.is_shared
    assert found.num_rows == 5 * (1 + (stage == "dpo"))
    largest = max(num_distinct(batch) for batch in drawn)
    assert largest < found.largest <= 1.2 * largest + 1
    rows = [row for batch in drawn for row in batch]
    assert found.longest >= max(map(len, rows))
    assert (found.longest == ready.rows.max_length) == (stage == "sft")


def test_rows_sorted_by_length_are_looked_at_from_the_longest(make_ready: Callable[..., Ready]) -> None:
    ready = make_ready("sft", "sft.train_sampling_strategy=group_by_length")
    first = next(iter(_order(ready.settings, ready.rows)))
    assert len(ready.rows.texts[first]["prompt"]) > 0.9 * max(len(text["prompt"]) for text in ready.rows.texts)
    assert [*_order(make_ready("sft", "sft.train_sampling_strategy=sequential").settings, ready.rows)] == [*range(40)]


@pytest.mark.parametrize(
    ("overrides", "num_rows"),
    [
        (["tuning.share_prefixes=false"], 4),
        (["sft.packing=true"], 4),
        (["sft.model_init_kwargs={attn_implementation='eager'}"], 4),
        (["tuning.share_prefixes=false", "sft.per_device_train_batch_size=400"], 40),
    ],
)
def test_padded_rows_count_whole_and_no_more_of_them_than_there_are(
    overrides: list[str], num_rows: int, make_ready: Callable[..., Ready]
) -> None:
    ready = make_ready("sft", *overrides)
    found = batch_tokens(ready.settings, ready.plan.skeleton, ready.chat, ready.rows)
    length = ready.rows.max_length
    assert (found.num_rows, found.longest, found.largest) == (num_rows, length, num_rows * length)
    assert not found.is_shared
