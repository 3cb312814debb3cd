"""Floating-point operations of a training step over distinct tokens: the work that is useful, whatever was computed."""

import math

import torch
from transformers import PreTrainedModel

from calltune.errors import ConfigError
from calltune.models.layer_kinds import ATTENTION, attention_heads, layer_kinds
from calltune.models.trie import Packed

# Dense bf16 peaks from the vendors' data sheets; a device's name holds the key.
_PEAKS = {"H100": 989e12, "H200": 989e12, "H20": 148e12, "A100": 312e12, "L40S": 362e12, "A10G": 70e12, "L4": 121e12}


class Flops:
    """Counts the FLOPs of a model's backbone, forward and backward. The LM head, computed at labels alone, is left out.

    `per_token` counts two FLOPs for each weight of a matrix in the forward pass, two in the backward pass, and two more
    where the weight is trained. It is None for a mixture of experts, whose routing decides.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config.get_text_config(decoder=True)
        embedding = model.get_input_embeddings().weight
        matrices = [p for p in model.base_model.parameters() if p.ndim == 2 and p is not embedding]
        # A short convolution's weights are few, and its work is not counted.
        convolved = {id(m.weight) for m in model.base_model.modules() if isinstance(m, torch.nn.Conv1d)}
        stacked = any(p.ndim > 2 and id(p) not in convolved for p in model.base_model.parameters())
        is_dense = not stacked and not getattr(config, "num_experts", None)
        self.per_token = float(sum(p.numel() * (6 if p.requires_grad else 4) for p in matrices)) if is_dense else None
        sliding, kinds = getattr(config, "sliding_window", None), layer_kinds(model)
        # By layer, the window and the operations for each score. Only attention looks at the tokens before one by one.
        self._layers = [
            (sliding if kind == "sliding_attention" else None, 12.0 * queries * size)
            for kind, (queries, _, size) in zip(kinds, attention_heads(config), strict=True)
            if kind in ATTENTION
        ]

    def of(self, packed: Packed) -> float:
        """Count the FLOPs of one forward and backward pass over a packed row; NaN where `per_token` is None."""
        if self.per_token is None:
            return math.nan
        # From the runs, as the positions may be on a device that is busy.
        spans = [(run.depth, run.depth + run.stop - run.start) for run in packed.runs]
        num_tokens = sum(stop - start for start, stop in spans)
        scores = {
            window: float(sum(_num_seen(stop, window) - _num_seen(start, window) for start, stop in spans))
            for window in {window for window, _ in self._layers}
        }
        return self.per_token * num_tokens + sum(per_score * scores[window] for window, per_score in self._layers)


def _num_seen(length: int, window: int | None) -> int:
    """How many tokens those of a row of this length see, all together, themselves included."""
    near = min(length, window or length)
    return near * (near + 1) // 2 + (length - near) * near


def peak_by_name(device: str) -> float:
    """Return the dense bf16 peak of a device that is not here, in FLOP/s.

    Raises:
        ConfigError: its name is not known.
    """
    if device not in _PEAKS:
        raise ConfigError(f"'plan.device': no peak is known of {device!r} (there are: {', '.join(_PEAKS)})")
    return _PEAKS[device]


def peak_flops(device: torch.device) -> float | None:
    """Return the device's dense bf16 peak in FLOP/s; None when it is not known, as on a CPU."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in _PEAKS.items() if key in name), None)
