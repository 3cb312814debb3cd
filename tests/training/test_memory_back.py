"""Stages that follow each other in one process: each has all the memory that the one before it took."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from transformers import PreTrainedModel

from calltune.config.run_file import load_config
from calltune.models.device import give_memory_back
from calltune.verbs import dpo, prepare, sft


def models_in_memory() -> list[weakref.ref[PreTrainedModel]]:
    """Those with weights, found without collecting garbage, among which a trainer's model would be."""
    models = [each for each in gc.get_objects() if isinstance(each, PreTrainedModel)]
    return [weakref.ref(each) for each in models if any(not weight.is_meta for weight in each.parameters())]


@pytest.mark.parametrize("more", ["", "[tuning]\nmethod = 'lora'\n[launch]\ntokens_per_batch = 512\n"])
def test_a_stage_leaves_no_model_behind(more: str, write_run_file: Callable[..., Path]) -> None:
    config = load_config(write_run_file(more))
    prepare.run(config)
    gc.collect()
    before = len(models_in_memory())
    seen: list[weakref.ref[PreTrainedModel]] = []

    def look(phase: str, info: dict[str, int]) -> None:
        # A collection comes after the trainer is gone; before it, its model is still there to be seen.
        if phase == "start" and info["generation"] == 2:
            seen.extend(models_in_memory())

    gc.callbacks.append(look)
    try:
        sft.run(config)
        dpo.run(config)
    finally:
        gc.callbacks.remove(look)
    assert len(seen) > before
    assert len(models_in_memory()) == before
    assert sum(each() is None for each in seen) >= 2


def test_what_the_c_library_keeps_is_handed_back() -> None:
    # Below the size for which the C library asks for pages of their own, with others between them that stay.
    blocks = [torch.ones(25_000) for _ in range(6_000)]
    kept, full = blocks[::100], psutil.Process().memory_info().rss
    del blocks
    give_memory_back()
    assert len(kept) == 60
    assert full - psutil.Process().memory_info().rss > 400 * 2**20
