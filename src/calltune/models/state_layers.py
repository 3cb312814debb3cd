"""Layers that hand a state from token to token, over rows with common beginnings: each beginning is computed once.

A gated delta rule (Qwen 3.5, Qwen3-Next) and a short convolution (LFM2) know the tokens before one by a state alone: a
matrix for each head, the last few inputs. So a packed row (`calltune.models.trie`) is cut where rows part, each segment
goes through the layer once, and begins with the state in which the segment above it ended. Gradients go back through
that state.

What runs is the layer's own `forward`, kernels and all. A state comes to it, and leaves it, by the cache that it would
have in generation (`_State`), which here copies nothing into buffers.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from calltune.models.layer_kinds import RECURRENT, layer_kinds
from calltune.models.trie import Packed

_NAMES = {"linear_attention": "linear_attn", "conv": "conv"}  # of such layers in a decoder layer, by their kind
_MASK = "attention_mask"
_LEAST_TOKENS = 32  # a shorter segment is computed again with each that goes on from it, which costs less than a call
_PADDED = 1 / 16  # padding that the ends of rows may get, relative to their own tokens, to be computed together
_PADDED_ON_GPU = 1 / 2  # there a call costs much, and a token little


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens of a packed row, by their `places`, that follow one another; `is_inner` where others go on from them.

    It begins with the state in which segment number `parent` ended; with none, where that is None.
    """

    places: np.ndarray
    parent: int | None
    is_inner: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Numbers of segments that go through a layer together, padded on the right to `width` tokens."""

    segments: list[int]
    parents: list[int]
    width: int
    is_inner: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How a packed row goes through a layer: groups in an order in which each state is there before it is asked for.

    `places` are those of all groups' tokens, padding included, one after the other; `back` says of each token of the
    packed row where among them its output is.
    """

    groups: list[Group]
    places: torch.Tensor
    back: torch.Tensor

    @property
    def sizes(self) -> list[int]:
        """How many tokens each group has, padding included."""
        return [len(group.segments) * group.width for group in self.groups]


def states_fault(model: PreTrainedModel) -> str | None:
    """None when the layers with a state are where they are expected and take one, else what is not known."""
    unknown = {kind for kind, layer in _layers(model) if layer is None or _cache_name(layer) is None}
    return (
        f"it has recurrent or convolution layers that are not known: {', '.join(sorted(unknown))}" if unknown else None
    )


def hand_states_on(model: PreTrainedModel) -> Callable[[], None]:
    """Let a model's layers with a state take packed rows, and return what takes that back; others are left alone.

    A layer that is given no packed row computes what it always did.
    """
    layers = [layer for _, layer in _layers(model) if layer is not None]
    before = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        layer.forward = _by_segments(layer)

    def undo() -> None:
        for layer, forward in zip(layers, before, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward

    return undo


@contextmanager
def states_handed_on(model: PreTrainedModel) -> Iterator[None]:
    """Let a model's layers with a state take packed rows; a backward pass with checkpointing belongs inside too."""
    undo = hand_states_on(model)
    try:
        yield
    finally:
        undo()


def _layers(model: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    """Kind and module of each layer with a state; the module is None where it is not found."""
    places = [(number, kind) for number, kind in enumerate(layer_kinds(model)) if kind in RECURRENT]
    if places:
        layers = getattr(model.get_decoder(), "layers", None) or []
        for number, kind in places:
            yield kind, getattr(layers[number], _NAMES[kind], None) if number < len(layers) else None


def _cache_name(layer: Any) -> str | None:
    """What a layer calls its cache."""
    names = inspect.signature(layer.forward).parameters
    return next((name for name in ("cache_params", "past_key_values") if name in names), None)


def _by_segments(layer: Any) -> Any:
    plain, cache_name = layer.forward, _cache_name(layer)

    @functools.wraps(plain)
    def forward(
        hidden_states: torch.Tensor,
        *args: Any,
        shared_prefixes: Packed | None = None,
        windows_seen: list[int | None] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        if shared_prefixes is None:
            return plain(hidden_states, *args, **kwargs)
        if args or cache_name is None or any(kwargs.pop(name, None) is not None for name in (cache_name, _MASK)):
            raise ValueError(f"{type(layer).__name__} is given more than a packed row")
        packed = shared_prefixes
        plan = packed.keep("segments", lambda: plan_of(packed))
        ended: dict[int, _State] = {}
        outputs = []
        for group, part in zip(
            plan.groups, hidden_states[0].index_select(0, plan.places).split(plan.sizes), strict=True
        ):
            state = _State(layer.layer_idx, [ended[parent] for parent in group.parents], group.is_inner)
            output = plain(part.view(-1, group.width, part.shape[-1]), **{cache_name: state}, **kwargs)
            outputs.append(output.flatten(0, 1))
            if group.is_inner:
                ended[group.segments[0]] = state
        return torch.cat(outputs).index_select(0, plan.back)[None]

    return forward


class _State:
    """What a layer takes for its cache: the states with which the rows of one call begin, and those in which they end.

    It has what layers with a state ask of transformers' caches, of which 5.17 asks more than 5.23 does. `conv_states`
    are inputs [rows, channels, tokens] before the first token, `recurrent_states` matrices [rows, heads, ...], both by
    the number of the state, of which most layers have one.
    """

    record_past = False

    def __init__(self, layer_idx: int, before: Sequence["_State"], is_kept: bool) -> None:
        self.conv_states = _joined([state.after_conv for state in before])
        self.recurrent_states = _joined([state.after_recurrent for state in before])
        self.layers = {layer_idx: self}
        self.after_conv: dict[int, torch.Tensor] = {}
        self.after_recurrent: dict[int, torch.Tensor] = {}
        self._is_kept = is_kept

    def has_previous_state(self, layer_idx: int, state_idx: int = 0) -> bool:
        """Say whether something stands before the first token."""
        return bool(self.conv_states or self.recurrent_states)

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> torch.Tensor | None:
        """Return the inputs before the first token; None at the beginning of rows."""
        return self.conv_states.get(state_idx)

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> torch.Tensor | None:
        """Return the matrices before the first token; None at the beginning of rows."""
        return self.recurrent_states.get(state_idx)

    def is_recording_past(self, layer_idx: int) -> bool:
        """Say that no token will be taken back."""
        return self.record_past

    def update_conv_state(
        self, conv_states: torch.Tensor, layer_idx: int, state_idx: int = 0, conv_kernel_size: int = 0, **others: Any
    ) -> torch.Tensor:
        """Return a convolution's inputs [rows, channels, tokens] with those before them, and keep the last of them."""
        before = self.conv_states.get(state_idx)
        whole = conv_states if before is None else torch.cat([before, conv_states], dim=-1)
        if self._is_kept:
            # A segment that is kept has more tokens than a convolution sees.
            self.after_conv[state_idx] = whole[..., 1 - conv_kernel_size :]
        return whole

    def update_recurrent_state(
        self, recurrent_states: torch.Tensor, layer_idx: int, state_idx: int = 0, **others: Any
    ) -> torch.Tensor:
        """Keep the matrices after the last token."""
        if self._is_kept:
            self.after_recurrent[state_idx] = recurrent_states
        return recurrent_states


def _joined(states: Sequence[dict[int, torch.Tensor]]) -> dict[int, torch.Tensor]:
    return {number: torch.cat([each[number] for each in states]) for number in (states[0] if states else ())}


def segments_of(packed: Packed) -> list[Segment]:
    """Cut a packed row where its rows part; a segment comes after its parent.

    Inner segments of fewer than `_LEAST_TOKENS` are put before each segment that goes on from them: no state is kept
    for so little, and no layer is asked for a single token, for which some have kernels without a backward pass.
    """
    # By the first place of what a row adds: where the token above it ends. A row that goes on where another one ended,
    # without a fork, adds to the same run.
    above = {run.start: run.path[-1][1] if run.path else 0 for run in packed.runs}
    above = {start: stop for start, stop in above.items() if start == 0 or start != stop}
    forks = set(above.values()) - {0}
    stops = sorted(forks | {*above, packed.runs[-1].stop} - {0})
    nothing, segments, start = np.zeros(0, np.int64), [], 0
    ended: dict[int, tuple[int | None, np.ndarray]] = {0: (None, nothing)}
    for stop in stops:
        parent, before = ended[above.get(start, start)]
        places = np.concatenate([before, np.arange(start, stop)])
        is_inner = stop in forks
        if is_inner and len(places) < _LEAST_TOKENS:
            ended[stop] = (parent, places)
        else:
            ended[stop] = (len(segments), nothing)
            segments.append(Segment(places, parent, is_inner))
        start = stop
    return segments


def plan_of(packed: Packed) -> Plan:
    """Put the segments of a packed row into groups: inner ones alone, the ends of rows together with others as long.

    After padding, a state would be another one; so what is padded has none that goes on.
    """
    segments, device = segments_of(packed), packed.ids.device
    groups = [
        Group([number], [] if each.parent is None else [each.parent], len(each.places), True)
        for number, each in enumerate(segments)
        if each.is_inner
    ]
    groups += _ends(segments, _PADDED if device.type == "cpu" else _PADDED_ON_GPU)
    places, back, done = [], np.empty(packed.runs[-1].stop, np.int64), 0
    for group in groups:
        for number in group.segments:
            own = segments[number].places
            places.append(np.pad(own, (0, group.width - len(own)), mode="edge"))
            back[own] = np.arange(done, done + len(own))
            done += group.width
    return Plan(groups, *(torch.from_numpy(each).to(device) for each in (np.concatenate(places), back)))


def _ends(segments: Sequence[Segment], padded: float) -> list[Group]:
    order = [number for number, each in enumerate(segments) if not each.is_inner]
    order.sort(key=lambda number: (segments[number].parent is None, -len(segments[number].places)))
    groups: list[Group] = []
    num_tokens = 0
    for number in order:
        size, parent = len(segments[number].places), segments[number].parent
        last = groups[-1] if groups else None
        is_alike = last is not None and bool(last.parents) == (parent is not None)
        if (
            last is not None
            and is_alike
            and (len(last.segments) + 1) * last.width <= (1 + padded) * (num_tokens + size)
        ):
            num_tokens += size
        else:
            # One token would go to a kernel for single tokens.
            last, num_tokens = Group([], [], max(2, size), False), size
            groups.append(last)
        last.segments.append(number)
        if parent is not None:
            last.parents.append(parent)
    return groups
