"""Packed rows that are computed wrongly, and float32 with the short factors that GPUs use."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface

from calltune.models.blocks import Block, blocks_of
from calltune.models.trie import Packed

_PRODUCTS = {
    torch.nn.functional.linear,
    torch.nn.functional.scaled_dot_product_attention,
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.bmm,
}


class Tf32(TorchFunctionMode):
    """Products of float32 with factors of 10 bits, where torch is told that they may be, as on a GPU."""

    def __enter__(self) -> Any:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.backends.cuda.matmul.fp32_precision = "none"

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS and torch.backends.cuda.matmul.fp32_precision == "tf32":
            args = tuple(_rounded(each) for each in args)
        return func(*args, **(kwargs or {}))


def _rounded(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
        return value
    exact = value.detach()
    short = ((exact.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
    return value + (short - exact)


def _last_masked(packed: Packed) -> tuple[int, Block, torch.Tensor]:
    number = max(number for number, block in enumerate(blocks_of(packed)) if block.visible is not None)
    block = blocks_of(packed)[number]
    assert block.visible is not None
    return number, block, block.visible.clone()


def _put(packed: Packed, number: int, visible: torch.Tensor) -> Packed:
    blocks = list(blocks_of(packed))
    blocks[number] = replace(blocks[number], visible=visible)
    return replace(packed, made={"blocks": blocks})


def one_wrong_key(packed: Packed) -> Packed:
    """One token sees one key of a sibling, or one that comes after it, in place of one of its own."""
    number, block, visible = _last_masked(packed)
    row = visible[block.size // 2]
    own, other = int(row.nonzero()[3]), int((~row).nonzero()[0])
    row[own], row[other] = False, True
    return _put(packed, number, visible)


def wrong_fork(packed: Packed) -> Packed:
    """The last rows see all that stands before them, siblings too, or without siblings half of what they should."""
    number, block, visible = _last_masked(packed)
    before = torch.ones_like(visible).tril(block.depth)
    if bool((visible == before).all()):
        before[:, : block.depth // 2] = False
    return _put(packed, number, before)


FAULTS: dict[str, Callable[[Packed], Packed]] = {"one wrong key": one_wrong_key, "a wrong fork": wrong_fork}


def plant(name: str, model: Any, attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a model compute packed rows wrongly, whose attention is registered under a name."""
    if name == "positions off by one":
        rotary = model.base_model.rotary_emb
        rotate = rotary.forward

        def forward(x: torch.Tensor, position_ids: torch.Tensor, *others: Any) -> Any:
            back = (position_ids.diff(dim=1) < 0).nonzero()
            if len(back):
                position_ids = position_ids.clone()
                position_ids[:, int(back[-1, 1]) + 1 :] += 1
            return rotate(x, position_ids, *others)

        monkeypatch.setattr(rotary, "forward", forward)
        return
    attend = AttentionInterface._global_mapping[attention]

    def wrong(*heads: Any, shared_prefixes: Packed | None = None, **others: Any) -> Any:
        packed = FAULTS[name](shared_prefixes) if shared_prefixes is not None else None
        return attend(*heads, shared_prefixes=packed, **others)

    monkeypatch.setitem(AttentionInterface._global_mapping, attention, wrong)
