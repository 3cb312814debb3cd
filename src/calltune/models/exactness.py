"""Whether packed rows give a model what its plain rows give it: by its configuration, its wiring, and its kernels.

In the precision of training, one token that sees one wrong key is lost in noise: in bf16 a model's plain rows, padded
or not, differ by more. So what can be exact is held apart from what cannot. The *wiring*, which is positions, forks and
windows, is compared in true float32, where plain rows agree to six digits. A *kernel* is compared in one attention
call, where no layers multiply its rounding. Only where the weights cannot be had in float32, the *noise* between plain
rows is the measure, which finds gross faults alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from calltune.models.device import free_bytes, true_float32
from calltune.models.layer_kinds import ATTENTION, RECURRENT, attention_heads, layer_kinds
from calltune.models.prefix import backbone_outputs, shared_attention, windows_of
from calltune.models.state_layers import states_fault
from calltune.models.trie import num_shared, pack, places

_TOLERANCE = torch.finfo(torch.float32).eps ** 0.5
_SHARE_TO_USE = 0.85
_TIMES_NOISE = 4.0
_LEAST_NOISE = 64 * torch.finfo(torch.float32).eps
_HEAD_TOKENS, _TAIL_TOKENS, _PADDING = 1024, 32, 9
_FORKS = ([*range(3, 15)], [*range(3, 8), *range(40, 50)], [*range(3, 9)])
_BEFORE_FORKS = range(50, 120)  # for layers with a state, which is handed on after so many tokens only

Plain = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""States [rows, length, width] of token ids and a mask [rows, length]."""

Shared = Callable[[Any], torch.Tensor]
"""States [tokens, width] of a packed row."""


def reason_against(model: PreTrainedModel) -> str | None:
    """None when, by its configuration, a model's packed rows can give what its plain rows give, else why not."""
    config = model.config.get_text_config(decoder=True)
    kinds = set(layer_kinds(model))
    with_states = bool(kinds & RECURRENT)
    if getattr(model, "_is_stateful", False) and not with_states:
        return "it has recurrent or convolution layers"
    if others := kinds - ATTENTION - RECURRENT:
        return f"it has layers of another kind: {', '.join(sorted(others))}"
    if fault := states_fault(model):
        return fault
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "its attention scores are soft-capped, which SDPA cannot do"
    if getattr(config, "is_heterogeneous", False) and len({*attention_heads(config)}) > 1:
        return "its layers have attention heads of several sizes"
    if model.base_model is model:
        return "its backbone cannot be called without its head"
    # Models with states do not say that their attention takes what it is given, as their other layers need not.
    is_replaceable = model._supports_attention_backend or with_states
    if not (is_replaceable and model._supports_sdpa and model._can_set_attn_implementation()):
        return "its attention cannot be replaced"
    ropes = getattr(config, "rope_parameters", None) or {}
    rotations = {rope.get("rope_type") for rope in (ropes, *ropes.values()) if isinstance(rope, dict)}
    if rotations & {"dynamic", "longrope"}:
        return "its rotary embedding depends on the longest row of a batch"
    return None


def reason_against_training(model: torch.nn.Module, inner: Any, attention: str | None) -> str | None:
    """None when, as far as a model says without its weights, its training may share prefixes, else why not.

    Args:
        model: as it is trained, adapters and all.
        inner: the transformers model in it.
        attention: the name of the implementation that it computes with.
    """
    dropped = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    if dropped or getattr(inner.config.get_text_config(decoder=True), "attention_dropout", 0.0):
        return "it is trained with dropout, which would be the same for all that share"
    if reason := reason_against(inner):
        return reason
    if attention in ("eager", None):
        # Nobody gets it who does not ask for it. All others are replaced, with the same outcome.
        return "its attention is 'eager', which is kept where it is asked for"
    return None


def can_share(model: PreTrainedModel) -> str | None:
    """None when a model's packed rows give what its plain rows give, else why not; computed in evaluation mode."""
    if reason := reason_against(model):
        return reason
    if is_checkable(model):
        return wiring_fault(model)
    backbone: Any = model.base_model

    def plain(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return backbone(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    def shared(packed: Any) -> torch.Tensor:
        with shared_attention(model):
            return backbone_outputs(model, packed).last_hidden_state[0]

    return noise_fault(plain, shared, _rows_for(model)[:2], model.device)


def is_checkable(model: PreTrainedModel) -> bool:
    """Whether a model can be computed with in float32 for a moment: its weights are whole, and there is room."""
    weights = list(model.parameters())
    if getattr(model, "is_quantized", False):
        return False
    if any(hasattr(each, "ds_id") or not each.is_floating_point() or each.is_meta for each in weights):
        return False
    return _has_room(model, torch.float32)


def _has_room(model: PreTrainedModel, dtype: torch.dtype) -> bool:
    """Whether copies of the weights in a precision fit into memory beside them."""
    shorter = [each for each in model.parameters() if each.element_size() < dtype.itemsize]
    more = sum(dtype.itemsize * each.numel() for each in shorter)
    return more == 0 or more <= _SHARE_TO_USE * free_bytes()


def wiring_fault(model: PreTrainedModel) -> str | None:
    """None when three short packed rows give a model the states of plain rows in true precision, else why not."""
    return in_true_precision(model, lambda: _wiring_fault(model))


def in_true_precision(model: PreTrainedModel, fault: Callable[[], str | None]) -> str | None:
    """What a comparison finds with the model in true float32; where it finds a fault, what it finds in float64.

    Some states hang on the last bits: a token's neighbours decide it by a hair, and layers multiply what rounding did.
    Then plain rows of two lengths differ by as much in float32. In float64 all of them agree, and a wrong key is as
    wrong as before. Where there is no room for float64, float32 has the last word.
    """
    with _true_precision(model, torch.float32):
        found = fault()
    if found is None or not _has_room(model, torch.float64):
        return found
    with _true_precision(model, torch.float64):
        # What cannot be computed in float64 is told as it was in float32.
        return None if fault() is None else found


@contextmanager
def _true_precision(model: PreTrainedModel, dtype: torch.dtype) -> Iterator[None]:
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        in_precision(model, dtype),
        true_float32(model.device),
        sdpa_kernel(SDPBackend.MATH),
    ):
        yield


def _wiring_fault(model: PreTrainedModel) -> str | None:
    backbone: Any = model.base_model
    rows = _rows_for(model)
    windows_seen: list[int | None] = []
    packed = pack(rows, model.device)
    try:
        with shared_attention(model):
            shared = backbone_outputs(model, packed, windows_seen=windows_seen).last_hidden_state[0]
        with shared_attention(model, "sdpa"):
            batches = [torch.tensor([row], device=model.device) for row in rows]
            plain = [backbone(input_ids=ids, use_cache=False).last_hidden_state[0] for ids in batches]
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        return f"its layers are not known: {str(error).splitlines()[0]}"
    if windows_seen != windows_of(model):
        return "its layers do not say how far they see"
    for row, path, states in zip(rows, packed.paths, plain, strict=True):
        found = shared[places(path, 0, len(row))]
        if fault := _told(float((found - states).abs().max() / states.abs().max()), _TOLERANCE):
            return fault
    return None


def noise_fault(plain: Plain, shared: Shared, rows: Sequence[list[int]], device: torch.device) -> str | None:
    """None when the two rows that share most differ, packed and plain, by hardly more than plain from plain.

    They are cut before and after their fork, and compared around it. It always takes four passes: packed rows, both
    rows with padding, and each row alone.
    """
    pair, fork = _forked(rows)
    packed = pack(pair, device)
    width = max(map(len, pair)) + _PADDING
    ids = torch.tensor([row + [0] * (width - len(row)) for row in pair], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in pair], device=device)
    found, noise = [], []
    with torch.no_grad():
        together, padded = shared(packed), plain(ids, mask)
        for number, (row, path) in enumerate(zip(pair, packed.paths, strict=True)):
            with sdpa_kernel(SDPBackend.MATH):
                alone = plain(ids[number : number + 1, : len(row)], mask[number : number + 1, : len(row)])[0]
            near = slice(max(0, fork - _TAIL_TOKENS), len(row))
            alone = alone[near].float()
            found.append(_of_tokens(together[places(path, 0, len(row))][near], alone))
            noise.append(_of_tokens(padded[number, : len(row)][near], alone))
    allowed = _TIMES_NOISE * float(torch.cat(noise).mean())
    return _told(float(torch.cat(found).mean()), max(allowed, _LEAST_NOISE))


def _of_tokens(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Each token's error, relative to its own state, as a few first tokens have states of a thousand times the rest."""
    return (found.float() - expected).norm(dim=-1) / expected.norm(dim=-1)


def _told(error: float, allowed: float) -> str | None:
    if error <= allowed:
        return None
    if error != error or error == float("inf"):
        return "its states are not finite, so packed and plain rows cannot be compared; look at its weights"
    return f"packed rows give it other states than plain rows, by {error:.1g}"


def _forked(rows: Sequence[list[int]]) -> tuple[list[list[int]], int]:
    """The two rows that share most, cut before and after their fork, and where that is.

    A row that is alone, or that goes no further, gets a tail of tokens from its beginning.
    """
    order = sorted(rows) if len(rows) > 1 else [rows[0], rows[0]]
    left, right = max(pairwise(order), key=lambda pair: num_shared(*pair))
    shared = num_shared(left, right)
    head = left[:shared][:_HEAD_TOKENS]
    tails = [row[shared : shared + _TAIL_TOKENS] for row in (left, right)]
    tails = [tail or (left if number else left[::-1])[:_TAIL_TOKENS] for number, tail in enumerate(tails)]
    return [head + tail for tail in tails], len(head)


def _rows_for(model: PreTrainedModel) -> list[list[int]]:
    vocab_size = model.config.get_text_config(decoder=True).vocab_size
    before = _BEFORE_FORKS if RECURRENT & {*layer_kinds(model)} else ()
    return [[token % vocab_size for token in (*before, *row)] for row in _FORKS]


def in_float32(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Hold the model's weights and buffers of half precision in float32; their values come back as they were."""
    return in_precision(model, torch.float32)


@contextmanager
def in_precision(model: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Hold copies of the weights and buffers of shorter precisions in this one, in their places.

    The weights themselves stay as they are, and come back: one whose data were of another precision for a moment would
    lose what listens for its gradient, such as what adds up the gradients of several processes.
    """
    places = [place for module in model.modules() for place in (module._parameters, module._buffers)]
    copies: dict[torch.Tensor, torch.Tensor] = {}
    before = [(place, name, each) for place in places for name, each in place.items() if each is not None]
    shorter = [one for one in before if one[2].is_floating_point() and one[2].element_size() < dtype.itemsize]
    try:
        for place, name, each in shorter:
            if each not in copies:
                # Tied weights stay tied.
                longer = each.detach().to(dtype)
                is_weight = isinstance(each, torch.nn.Parameter)
                copies[each] = torch.nn.Parameter(longer, each.requires_grad) if is_weight else longer
            place[name] = copies[each]  # type: ignore[assignment]
        yield
    finally:
        for place, name, each in shorter:
            place[name] = each  # type: ignore[assignment]
