"""The floating-point operations of a stage's batches, as they are computed, by which its time is extrapolated."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from peft import PeftModel

from calltune.models.trie import pack
from calltune.training.flops import Flops

FORWARD = 1 / 3
"""Of a step, for validation and reference: the backward pass takes twice as long as the forward pass."""

_FEWEST_BATCHES = 32
_WORK_SECONDS = 2.0  # at most, for the work of an epoch's batches; the rest are taken to be as those looked at


class Work:
    """Floating-point operations of a batch as it is computed: what its rows share once, or padding and all."""

    def __init__(self, model: Any, is_shared: bool) -> None:
        inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self._flops = Flops(inner)
        self._is_shared = is_shared
        self._head = 6.0 * inner.get_input_embeddings().weight.numel()

    def of(self, batch: Mapping[str, Any]) -> float:
        """For what a trainer's collator gives; tokens where the operations are not known (a mixture of experts)."""
        if self._flops.per_token is None:
            return float(batch["input_ids"].numel())
        if not self._is_shared and batch.get("attention_mask") is not None:
            rows, length = batch["input_ids"].shape
            return rows * self._flops.of(pack([list(range(length))]))
        return sum(self._flops.of(pack(rows)) for rows in rows_of(batch))

    def of_epoch(self, trainer: Any) -> float:
        """For all batches of an epoch, from the first of them, in the trainer's order, when they are many."""
        loader, works, begun = trainer.get_train_dataloader(), [], time.perf_counter()
        for batch in loader:
            works.append(self.of(batch))
            if len(works) >= _FEWEST_BATCHES and time.perf_counter() - begun >= _WORK_SECONDS:
                break
        return sum(works) * len(loader) / len(works)

    def of_head(self, num_labels: int) -> float:
        """For the LM head at so many labels, which is not in the work of a batch; 0 where that counts tokens."""
        return 0.0 if self._flops.per_token is None else self._head * num_labels


def rows_of(batch: Mapping[str, Any]) -> Iterator[list[list[int]]]:
    """The rows of a batch; packed ones apart, as they share nothing."""
    if batch.get("attention_mask") is not None:
        lengths = batch["attention_mask"].sum(1).tolist()
        yield [row[:length] for row, length in zip(batch["input_ids"].tolist(), lengths, strict=True)]
        return
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    ids = batch["input_ids"][0].tolist()
    for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
        yield [ids[start:stop]]
