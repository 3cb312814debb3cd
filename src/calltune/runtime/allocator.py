"""How torch keeps memory, which it reads from the environment when it is loaded."""

import os

_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def let_memory_grow() -> None:
    """Let the memory that torch keeps grow in place, unless the user has said how it is kept.

    Batches differ in size. In blocks of fixed sizes, much of the memory would be kept and fit no tensor.
    """
    if not any(name in os.environ for name in _NAMES):
        os.environ[_NAMES[0]] = "expandable_segments:True"


_KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
_KERNELS = "64"  # more than the matrices and attention of a layer have, forward and backward


def keep_few_kernels() -> None:
    """Let torch keep few of the kernels that it makes for each shape on a CPU, unless the user has said how many.

    It keeps the last 1,024 in two places, half a megabyte each. All layers of a pass ask for the same ones, but rows
    packed together have a new length in every step, so that a stage would grow by a gigabyte for nothing.
    """
    for name in _KERNEL_CACHES:
        os.environ.setdefault(name, _KERNELS)
