"""Whether a hybrid model's rows that go on from copies of what it keeps have the states of plain rows."""

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from calltune.models.backends.states import States
from calltune.models.device import true_float32
from calltune.models.exactness import in_true_precision, is_checkable

_TOLERANCE = torch.finfo(torch.float32).eps ** 0.5
_TOLERANCE_OF_HALVES = 0.1  # where weights cannot be had in float32: that finds gross faults alone
_PAIRS = (
    # Common beginnings inside of each other; one is all that a context has before its last token. Rests of one length
    # go on side by side, others one by one, and what has nothing in common is padded.
    ([*range(3, 43), 50], [7, 8, 9]),
    ([*range(3, 43), 60, 61, 62, 63, 64], [7]),
    ([*range(3, 43), 70, 71, 72, 73, 74], [4, 5, 6, 7, 8]),
    ([*range(3, 43), *range(80, 90), 44], [9, 8]),
    ([*range(3, 43), *range(80, 90), 45, 46], [9]),
    ([*range(3, 43), *range(80, 90), 45, 46], [3, 4, 5, 6]),
    ([31, 30], [29, 28]),
    ([*range(40, 20, -1)], [5]),
)
_LEAST = 8


def state_fault(model: Any) -> str | None:
    """None when they do, in true precision where the weights can be had so, else why not."""
    if is_checkable(model):
        return in_true_precision(model, lambda: _state_fault(model, _TOLERANCE))
    with torch.inference_mode(False), torch.no_grad(), true_float32(model.device), sdpa_kernel(SDPBackend.MATH):
        return _state_fault(model, _TOLERANCE_OF_HALVES)


def _state_fault(model: Any, tolerance: float) -> str | None:
    try:
        error = max(_error(model, _pairs(model)), _error(model, [(head, rest[:1]) for head, rest in _pairs(model)]))
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as fault:
        return f"its layers do not go on from copies of what they keep: {(str(fault).splitlines() or ['?'])[0]}"
    if error <= tolerance:
        return None
    if error == float("inf"):
        return "its states are not finite, so they cannot be compared; look at its weights"
    return f"its states are others when rows go on from what they share, by {error:.1g}"


def _pairs(model: Any) -> list[tuple[list[int], list[int]]]:
    size = model.config.get_text_config(decoder=True).vocab_size
    return [([token % size for token in head], [token % size for token in rest]) for head, rest in _PAIRS]


def _error(model: Any, pairs: list[tuple[list[int], list[int]]]) -> float:
    """The largest difference of a state, relative to the largest of its row; infinite where it is no number."""
    largest = 0.0
    for numbers, outputs in States(model, 0, 2**12, _LEAST).scored(pairs):
        for number, states in zip(numbers, outputs.last_hidden_state, strict=True):
            context, rest = pairs[number]
            ids = torch.tensor([context + rest[:-1]], device=model.device)
            plain = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, -len(rest) :].float()
            error = float((states[: len(rest)].float() - plain).abs().max() / plain.abs().max())
            largest = max(largest, error if error == error else float("inf"))
    return largest
