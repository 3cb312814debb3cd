"""Whether a kernel computes the attention of a packed row: one call of it, forward and backward, against float64.

Between the call and its outcome are no layers that multiply its rounding, so that in any precision one token that sees
one wrong key stands out. What the precision itself costs is measured beside it, by the same arithmetic in plain torch.
"""

import random
from collections.abc import Callable

import torch

from calltune.models.trie import Packed, pack, places

_TIMES_NOISE = 3.0
_LEAST_NOISE = 1e-5  # in float32; one wrong key of the rows below makes a thousand times as much
_CONTRAST = 0.3
_KEY_HEADS = 2  # of the model's; more are computed alike

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Packed, int | None], torch.Tensor]
"""Outputs [1, heads, tokens, size] of queries, keys and values of that shape, a packed row, and a sliding window."""

Heads = tuple[int, int, int]
"""How many there are of queries and of keys, and the size of one."""


@torch.inference_mode(False)
def kernel_fault(
    attend: Attend, heads: Heads, window: int | None, dtype: torch.dtype, device: torch.device
) -> str | None:
    """None when a way to attend gives outputs and gradients that are right as far as the precision allows."""
    queries, keys, size = heads
    groups, keys = queries // keys, min(keys, _KEY_HEADS)
    rows = _rows()
    packed = pack(rows, device)
    visible = _visible(rows, packed, window).to(device)
    numbers = torch.Generator().manual_seed(0)
    length = packed.ids.numel()
    shapes = [(1, count, length, size) for count in (groups * keys, keys, keys, groups * keys)]
    *inputs, upstream = (torch.randn(shape, generator=numbers).to(device, dtype) for shape in shapes)
    # Then all keys weigh about the same, so that each is missed alike.
    inputs[0] *= _CONTRAST

    def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
        scores = (query @ key.transpose(2, 3) * size**-0.5).masked_fill(~visible, -torch.inf)
        weights = scores.softmax(-1, dtype=torch.promote_types(dtype, torch.float32)).to(query.dtype)
        return weights @ value

    def exact(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
        scores = (query @ key.transpose(2, 3) * size**-0.5).masked_fill(~visible, -torch.inf)
        return scores.softmax(-1) @ value

    with torch.autocast(device.type, enabled=False):
        truth = _outcome(exact, [each.double() for each in inputs], upstream.double())
        noise = _outcome(plain, inputs, upstream)
        found = _outcome(lambda query, key, value: attend(query, key, value, packed, window), inputs, upstream)
    for name, right, rough, ours in zip(("outputs", "dq", "dk", "dv"), truth, noise, found, strict=True):
        allowed, error = max(_LEAST_NOISE, _TIMES_NOISE * _worst(rough, right)), _worst(ours, right)
        if not error <= allowed:
            return f"its {name} are off by {error:.1g}, where the precision explains {allowed:.1g}"
    return None


def _outcome(attend: Callable[..., torch.Tensor], inputs: list[torch.Tensor], upstream: torch.Tensor) -> list:
    leaves = [each.detach().clone().requires_grad_() for each in inputs]
    with torch.enable_grad():
        outputs = attend(*leaves)
        gradients = torch.autograd.grad(outputs, leaves, upstream)
    return [outputs.detach(), *gradients]


def _worst(found: torch.Tensor, right: torch.Tensor) -> float:
    """The error of the worst token, relative to its own numbers, or to a usual token's where it has next to none."""
    usual = right.pow(2).sum((1, 3)).mean().sqrt()
    of_tokens = (found.double() - right).norm(dim=(1, 3)) / right.norm(dim=(1, 3)).clamp(min=float(usual))
    return float(of_tokens.max())


def _rows() -> list[list[int]]:
    """Two questions to which there are three answers each, one of them forked once more."""
    rng = random.Random(0)

    def some(count: int) -> list[int]:
        return [rng.randrange(1000) for _ in range(count)]

    tools = some(140)
    questions = [tools + some(20), tools[:100] + some(30)]
    rows = [question + some(count) for question in questions for count in (10, 25, 50)]
    return [*rows, rows[0][:-7] + some(9), some(40)]


def _visible(rows: list[list[int]], packed: Packed, window: int | None) -> torch.Tensor:
    """What each token sees, [tokens, tokens], from the rows alone."""
    length = packed.ids.numel()
    visible = torch.zeros(length, length, dtype=torch.bool)
    for row, path in zip(rows, packed.paths, strict=True):
        where = torch.tensor(places(path, 0, len(row)))
        sees = torch.ones(len(row), len(row), dtype=torch.bool).tril()
        visible[where[:, None], where] = sees if window is None else sees.triu(1 - window)
    return visible
