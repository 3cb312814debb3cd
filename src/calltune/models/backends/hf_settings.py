"""The `hf` backend's own keys, and the kernels that they lay over a model that is asked."""

import importlib.util
from importlib.metadata import version
from typing import Any, Literal

import pydantic
import torch

from calltune.config.table import Table
from calltune.models.fused import fuse
from calltune.runtime.terminal import say


class Settings(Table):
    """`[evaluate.backend_options]` of the `hf` backend."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the model computes in. By default bf16 on a GPU and float32 on a CPU; one whose cores multiply in bf16 gives
    answers in about half the time with it. All checkpoints of a run are measured in the same."""

    fused_kernels: Literal["auto", "off"] = "auto"
    """Whether norms, MLPs and rotary embeddings are computed in one pass over memory each: by Liger's kernels, on a GPU
    where they are installed and right. Nothing is compiled. All checkpoints of a run are measured in the same."""

    continuous_batching: Literal["auto", "off"] = "auto"
    """Whether greedy answers are written by transformers' continuous batching, on a GPU where that gives the same
    answers and takes less time. It takes two fifths of the free memory for its pages: set "off" where several
    processes share a GPU."""

    @pydantic.model_serializer(mode="wrap")
    def _as_measured(self, plain: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Say which kernels an evaluation has, by name and version, and nothing where there are none.

        So what was measured without them stays as it is, and is measured anew when they come.
        """
        keys: dict[str, Any] = plain(self)
        for name in ("fused_kernels", *(["continuous_batching"] if self.continuous_batching == "auto" else [])):
            keys.pop(name, None)
        return {**keys, "fused_kernels": f"liger {version('liger-kernel')}"} if self.lays_kernels else keys

    @property
    def lays_kernels(self) -> bool:
        """Whether there are kernels to be laid over a model: a GPU's, and installed."""
        is_there = torch.cuda.is_available() and importlib.util.find_spec("liger_kernel") is not None
        return self.fused_kernels == "auto" and is_there


def lay_kernels(model: Any, settings: Settings) -> None:
    """Lay Liger's kernels over a model on a GPU where they are right, forward, and say so in one line."""
    if settings.lays_kernels:
        say(f"evaluation: fused kernels: {fuse(model, 'liger', None, with_gradients=False).told}")
