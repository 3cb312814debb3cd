"""What torch is told of a device; a GPU's own counts are planted where torch has them."""

from pathlib import Path

import pytest
import torch

from calltune.models.device import free_bytes, give_memory_back
from calltune.models.load import load_model


def test_a_model_that_is_loaded_attends_without_plans(tiny_model: Path) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    load_model(str(tiny_model), torch.float32)
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()


def test_what_the_allocator_keeps_for_later_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 40)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 25)
    assert free_bytes() == 25
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    give_memory_back()
    assert emptied


def test_on_a_cpu_the_machine_says_what_is_free() -> None:
    assert 0 < free_bytes() < 2**50
