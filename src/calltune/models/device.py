"""What torch is told about the device that computes, and what of its memory is free."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch


def leave_out_planned_attention() -> None:
    """Let no attention go through cuDNN, which makes a plan for every new shape; it changes nothing on a CPU.

    A plan takes tens of milliseconds or more. Packed rows and padded batches have a new shape nearly every time, so
    that the plans would take longer than the attention. torch puts cuDNN first on the newest GPUs.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def free_bytes() -> int:
    """Return the bytes that are free on the device that computes."""
    if not torch.cuda.is_available():
        return psutil.virtual_memory().available
    # The device counts as taken what torch keeps for tensors to come; it is ours to use.
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return torch.cuda.mem_get_info()[0] + kept


def give_memory_back() -> None:
    """Free what nobody can reach any more, and hand back what torch and the C library keep for what may come.

    A trainer and its model refer to each other in circles, which only the garbage collector finds. glibc keeps pages of
    small blocks that were freed, gigabytes of them after a stage on a CPU, and the next stage would come on top.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_heap()


def trim_heap() -> None:
    """Hand the pages of freed blocks back to the system, where the C library is glibc, which keeps them."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


@contextmanager
def true_float32(device: torch.device) -> Iterator[None]:
    """Compute float32 as float32: without autocast, and without the shorter factors (TF32, bf16) of some devices."""
    backends: Any = torch.backends
    places = (backends.cuda.matmul, backends.mkldnn.matmul)
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for place, precision in zip(places, before, strict=True):
            # First what it inherits; a precision of its own only where that differs.
            place.fp32_precision = "none"
            if place.fp32_precision != precision:
                place.fp32_precision = precision


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The precision in which matrices are multiplied on a device now; None where it is that of the numbers."""
    kind = device.type
    is_on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if is_on else None
