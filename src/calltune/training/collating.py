"""Batches are laid out where they are collated: in a data loader's worker processes where it has some.

`lay_out_batches` puts it on one trainer: its data loaders get a collator around TRL's, and its steps take the layout
out of the batch again (`calltune.training.layout`). What comes from another collator, without a layout, is laid out in
the forward pass.
"""

import atexit
import functools
import gc
import multiprocessing
import signal
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from calltune.training.layout import KEY, BatchLayout, Joining, is_right_padded, laid_out, num_chosen
from calltune.training.passes import parts_of, taken


@dataclass(frozen=True, slots=True)
class LayOut:
    """A collator that adds the layout to what another one gives.

    Args:
        collate: gives batches padded on the right.
        tokens_per_batch: the bound of a pass; None for no bound.
        is_shared: whether common beginnings are computed once, and no padding.
    """

    collate: Callable[[Sequence[Any]], dict[str, Any]]
    tokens_per_batch: int | None
    is_shared: bool

    def __call__(self, examples: Sequence[Any]) -> dict[str, Any]:
        """Collate rows; a batch that is not padded on the right alone comes without a layout."""
        batch = self.collate(examples)
        if not is_right_padded(batch.get("input_ids"), batch.get("attention_mask")):
            return batch
        return {**batch, KEY: layout_of_batch(batch, self.tokens_per_batch, self.is_shared)}


def layout_of_batch(batch: Mapping[str, Any], tokens_per_batch: int | None, is_shared: bool) -> BatchLayout:
    """Lay a batch on the host out, in the passes that the bound makes of it."""
    joining, num_rows = Joining(), len(batch["input_ids"])
    parts, num_longer = [list(range(num_rows))], 0
    if tokens_per_batch is not None:
        parts, num_longer = parts_of(batch, tokens_per_batch, is_shared)
    if len(parts) == 1:
        laid = [joining.part(parts[0], batch, is_shared, is_all=True)]
    else:
        laid = [joining.part(part, taken(batch, part), is_shared, is_all=False) for part in parts]
    return joining.joined(laid, is_shared, num_longer, num_chosen(batch))


def lay_out_batches(trainer: Any, is_shared: Callable[[], bool], tokens_per_batch: int | None = None) -> None:
    """Let a TRL trainer's data loaders lay its batches out.

    Call it after `bound_passes`, whose passes it makes.

    Args:
        is_shared: says whether the model computes what rows have in common once, and no padding.
        tokens_per_batch: the bound of a pass in training.
    """
    # Packed rows have no padding, and a batch that one process hands to others is cut by accelerate, which cannot cut
    # its layout.
    if trainer.padding_free or trainer.accelerator.dispatch_batches:
        return
    for name, bound in (("get_train_dataloader", tokens_per_batch), ("get_eval_dataloader", None)):
        setattr(trainer, name, _laying_out(trainer, getattr(trainer, name), bound, is_shared))
    for name in ("training_step", "prediction_step"):
        setattr(trainer, name, _knowing(getattr(trainer, name)))


def _laying_out(trainer: Any, make: Any, tokens_per_batch: int | None, is_shared: Callable[[], bool]) -> Any:
    @functools.wraps(make)
    def get_dataloader(*args: Any, **kwargs: Any) -> Any:
        collate = trainer.data_collator
        if is_shared() or tokens_per_batch is not None:
            trainer.data_collator = LayOut(collate, tokens_per_batch, is_shared())
        try:
            loader = make(*args, **kwargs)
        finally:
            trainer.data_collator = collate
        _watch(getattr(loader, "base_dataloader", loader))
        return loader

    return get_dataloader


def _knowing(step: Any) -> Any:
    @functools.wraps(step)
    def knowing(model: Any, inputs: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        laid = inputs.get(KEY)
        if laid is None:
            return step(model, inputs, *args, **kwargs)
        inputs = {name: value for name, value in inputs.items() if name != KEY}
        with laid_out(inputs, laid, laid.parts[0] if len(laid.parts) == 1 else None):
            return step(model, inputs, *args, **kwargs)

    return knowing


_LOADERS: weakref.WeakSet[Any] = weakref.WeakSet()


def _watch(loader: Any) -> None:
    """Have a loader's workers live as long as this process wants them, whatever signals come."""
    if loader.num_workers and loader.persistent_workers and loader not in _LOADERS:
        loader.worker_init_fn = functools.partial(_begin, loader.worker_init_fn)
        _LOADERS.add(loader)


def _begin(begin: Callable[[int], None] | None, number: int) -> None:
    """In a worker: signals that come to all processes are for the one that trains, which finishes its step."""
    # What wakes that process is a pipe of its own.
    signal.set_wakeup_fd(-1)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    if begin is not None:
        begin(number)


def close_workers() -> None:
    """End the worker processes of all data loaders; a loader that is asked again begins new ones."""
    if not multiprocessing.active_children():
        return
    for loader in list(_LOADERS):
        loader._iterator = None
    # A trainer that resumes makes a loader of its own from one of these, and an error holds on to what it was doing.
    for each in gc.get_objects():
        if type(each) is _MultiProcessingDataLoaderIter:
            each._shutdown_workers()


@atexit.register
def _end_workers() -> None:
    """End them at the process's end, too, also those that nobody can ask any more.

    An iterator that goes in a circle of garbage loses its queues first, so that its workers are never told to end.
    multiprocessing would wait for them without an end, as they ignore the signal that it sends.
    """
    close_workers()
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
