"""The layout of a batch, made where the batch is collated and handed to the model beside it.

What a pass over shared prefixes needs of a batch's tokens is known as soon as the batch is: the packed row, what each
token sees, the way back to the rows, the places that the LM head reads, and, with a bound, the passes. A collator puts
all of it into the batch as one object, which goes through pinned memory and to the device as tensors do (it has
`pin_memory` and `to`), and which is taken out again before the trainer's own step. Models find it through `layout_of`,
by the very tensors of the batch; whoever is given others computes the layout itself. So no signature changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from calltune.models.trie import Layout, Packed, lay_out

KEY = "calltune_layout"
"""Under which a batch holds its `BatchLayout`."""

_OF_MODEL = ("input_ids", "attention_mask", "labels", "completion_mask")


class _Place(NamedTuple):
    """Where in the numbers of a batch's layout an array is, and of which shape it is."""

    is_long: bool
    start: int
    stop: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A batch or a part of one: what the host needs to know of it, and where its arrays are.

    `numbers` are those of its rows, or pairs, in the batch. `layout` is None where nothing is shared.
    """

    numbers: list[int]
    layout: Layout | None
    num_row_tokens: int
    num_chosen: int
    places: dict[str, _Place]


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """The layout of a batch: `parts` are its passes, of which there is one where nothing bounds them.

    All arrays are in two tensors, so that few are sent from process to process and to the device. `num_longer` counts
    rows or pairs that are longer than the bound, `num_chosen` the labels of DPO's chosen answers.
    """

    longs: torch.Tensor
    ints: torch.Tensor
    parts: list[Part]
    is_shared: bool
    num_longer: int
    num_chosen: int

    def pin_memory(self) -> "BatchLayout":
        """Return it in pinned memory, as torch's data loader asks."""
        return replace(self, longs=self.longs.pin_memory(), ints=self.ints.pin_memory())

    def to(self, device: Any, non_blocking: bool = False) -> "BatchLayout":
        """Return it on a device, as accelerate's data loader asks."""
        longs, ints = (each.to(device, non_blocking=non_blocking) for each in (self.longs, self.ints))
        return replace(self, longs=longs, ints=ints)

    def tensors(self, part: Part) -> dict[str, torch.Tensor]:
        """Return the arrays of a part by their names, as views."""
        return {
            name: (self.longs if place.is_long else self.ints)[place.start : place.stop].view(place.shape)
            for name, place in part.places.items()
        }


class Joining:
    """Arrays as they are joined for a `BatchLayout`."""

    def __init__(self) -> None:
        self._arrays: dict[bool, list[np.ndarray]] = {True: [], False: []}
        self._sizes = {True: 0, False: 0}

    def part(self, numbers: Sequence[int], batch: Mapping[str, torch.Tensor], is_shared: bool, is_all: bool) -> Part:
        """Lay a batch or a part of one out; a part's own tensors are joined too, unless it is all of the batch."""
        ids, mask = (batch[name].numpy() for name in ("input_ids", "attention_mask"))
        lengths = mask.sum(1, dtype=np.int64)
        arrays: dict[str, np.ndarray] = {}
        layout = lay_out(ids, lengths) if is_shared else None
        if layout is not None:
            arrays |= layout.arrays
            layout = replace(layout, arrays={})
        labels = _labels(batch)
        if labels is not None:
            # As the LM head sees them: a state stands before its label.
            rows, columns = (labels[:, 1:] != -100).nonzero()
            arrays |= {"rows": rows, "columns": columns, "labels": labels[:, 1:][rows, columns]}
            if layout is not None:
                arrays["wanted"] = arrays["index"][rows, columns]
        if not is_all:
            arrays["numbers"] = np.array(numbers, np.int64)
            arrays |= {f"batch {name}": batch[name].numpy() for name in _OF_MODEL if name in batch}
        places = {name: self._join(each) for name, each in arrays.items()}
        return Part(list(numbers), layout, int(lengths.sum()), num_chosen(batch), places)

    def _join(self, array: np.ndarray) -> _Place:
        is_long = array.dtype != np.int32
        start = self._sizes[is_long]
        self._sizes[is_long] += array.size
        self._arrays[is_long].append(array.reshape(-1))
        return _Place(is_long, start, start + array.size, array.shape)

    def joined(self, parts: list[Part], is_shared: bool, num_longer: int, num_chosen: int) -> BatchLayout:
        """Return the layout of all parts."""
        longs, ints = (
            torch.from_numpy(np.concatenate([np.zeros(0, dtype), *self._arrays[is_long]]).astype(dtype, copy=False))
            for is_long, dtype in ((True, np.int64), (False, np.int32))
        )
        return BatchLayout(longs, ints, parts, is_shared, num_longer, num_chosen)


def _labels(batch: Mapping[str, torch.Tensor]) -> np.ndarray | None:
    """A batch's labels, -100 where there is none; DPO's trainer makes them of its mask of the answers."""
    if "labels" in batch:
        return batch["labels"].numpy()
    if "completion_mask" in batch:
        return np.where(batch["completion_mask"].numpy() == 0, -100, batch["input_ids"].numpy())
    return None


def num_chosen(batch: Mapping[str, Any]) -> int:
    """Count the labels of the chosen answers of a batch of DPO's; 0 of another."""
    if "completion_mask" not in batch:
        return 0
    mask = batch["completion_mask"]
    return int(mask[: len(mask) // 2, 1:].sum())


def is_right_padded(ids: Any, mask: Any) -> bool:
    """Whether a batch on the host has rows of tokens, one at least, and all padding behind them."""
    if not (isinstance(ids, torch.Tensor) and isinstance(mask, torch.Tensor) and ids.ndim == 2):
        return False
    if mask.shape != ids.shape or not ids.numel():
        return False
    seen = mask.numpy().astype(bool)
    return bool(seen.any()) and bool((seen == (np.arange(seen.shape[1]) < seen.sum(1)[:, None])).all())


@dataclass(slots=True)
class Laid:
    """A batch that is being computed, with its layout; `part` is None for a batch that goes in several passes."""

    batch: BatchLayout
    part: Part | None
    ids: torch.Tensor
    mask: torch.Tensor
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def num_row_tokens(self) -> int:
        """Tokens of the rows, without padding."""
        return self.part.num_row_tokens if self.part else 0

    @property
    def is_packed(self) -> bool:
        """Whether it was laid out as a packed row."""
        return self.part is not None and self.part.layout is not None

    def packed(self) -> Packed:
        """Return the packed row, on the batch's device."""
        if self.part is None or self.part.layout is None:
            raise ValueError("this batch was laid out for padded rows")
        return self.part.layout.packed(self.tensors)


_LAID: ContextVar[Laid | None] = ContextVar("laid", default=None)


@contextmanager
def laid_out(inputs: Mapping[str, Any], batch: BatchLayout, part: Part | None) -> Iterator[None]:
    """Let models find the layout of a batch, or of a part of it, by its tensors."""
    tensors = batch.tensors(part) if part is not None else {}
    token = _LAID.set(Laid(batch, part, inputs["input_ids"], inputs["attention_mask"], tensors))
    try:
        yield
    finally:
        _LAID.reset(token)


def batch_layout(inputs: Mapping[str, Any]) -> BatchLayout | None:
    """Return the layout of the batch that is being computed, if these are its tensors."""
    laid = _LAID.get()
    is_known = laid is not None and _is_of(laid, inputs.get("input_ids"), inputs.get("attention_mask"))
    return laid.batch if laid is not None and is_known else None


def layout_of(ids: Any, mask: Any) -> Laid | None:
    """Return the layout of token ids and a mask [rows, length], if they came with one; looks at no value of them."""
    laid = _LAID.get()
    return laid if laid is not None and laid.part is not None and _is_of(laid, ids, mask) else None


def _is_of(laid: Laid, ids: Any, mask: Any) -> bool:
    # Wrappers may hand on other tensors over the same numbers. What `laid` holds is not freed, so no other is there.
    return _same(ids, laid.ids) and _same(mask, laid.mask)


def _same(left: Any, right: torch.Tensor) -> bool:
    return left is right or (
        isinstance(left, torch.Tensor)
        and left.device == right.device
        and left.shape == right.shape
        and left.stride() == right.stride()
        and left.dtype == right.dtype
        and left.data_ptr() == right.data_ptr()
    )


def batch_of(batch: BatchLayout, part: Part, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch of a part: its own tensors, and of the whole batch's other values those of its pairs."""
    tensors = batch.tensors(part)
    return {
        name: tensors[f"batch {name}"] if f"batch {name}" in tensors else values.index_select(0, tensors["numbers"])
        for name, values in inputs.items()
    }
