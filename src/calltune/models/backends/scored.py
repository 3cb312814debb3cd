"""What the `hf` backend needs to score tokens after their contexts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


def distinct_rows(pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[list[list[int]], list[list[int]]]:
    """The rows that have to be computed for (context, rest) pairs, and for each the numbers of the pairs that ask it.

    A row's last token is predicted, and predicts nothing, so rests that differ in it alone are asked of one row.
    """
    numbers: dict[tuple[int, ...], list[int]] = {}
    for number, (context, rest) in enumerate(pairs):
        numbers.setdefault((*context, *rest[:-1]), []).append(number)
    return list(map(list, numbers)), list(numbers.values())


@contextmanager
def known_outputs(backbone: torch.nn.Module, outputs: Any) -> Iterator[None]:
    """Let a model's own forward do what comes after its backbone, whose outputs are there already."""
    own = backbone.__dict__.get("forward")
    backbone.forward = lambda *args, **kwargs: outputs
    try:
        yield
    finally:
        del backbone.forward
        if own is not None:
            backbone.forward = own
