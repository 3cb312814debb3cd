"""How torch keeps a GPU's memory, which it reads from the environment when it is loaded."""

import os

_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def let_memory_grow() -> None:
    """Let the memory that torch keeps grow in place, unless the user has said how it is kept.

    Batches differ in size. In blocks of fixed sizes, much of the memory would be kept and fit no tensor.
    """
    if not any(name in os.environ for name in _NAMES):
        os.environ[_NAMES[0]] = "expandable_segments:True"
