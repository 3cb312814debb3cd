"""What a model keeps of tokens that many rows see, stored once.

While answers are written, every row of a batch looks back at its prompt, and the prompts of an agent begin with the
same tools. A cache of transformers has a copy of them for each row, and copies it again for each token. Here the keys
and values of common tokens are a `Segment` of one row, at which all rows look in one product of matrices; the rest of a
prompt is a segment with one row for each prompt, and what is being written has one for each answer. Positions stand
beside the keys, so a sliding window, padding and what comes later are told by comparing numbers. The attention over
segments is in `segment_attention`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pad

NOWHERE = 2**30
"""The position of padding, which is after everything and so is not seen."""

_FIRST_ROOM = 32  # tokens that are written before their buffer grows for the first time

Heads = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of a layer, [rows, key heads, tokens, size]."""


@dataclass(slots=True)
class Segment:
    """Keys and values of some tokens: `positions` are integers [rows, tokens], `layers` the heads by their layer.

    `is_whole` says that no token is padding.
    """

    positions: torch.Tensor
    is_whole: bool
    layers: dict[torch.nn.Module, Heads] = field(default_factory=dict)

    def add(self, layer: torch.nn.Module, key: torch.Tensor, value: torch.Tensor) -> Heads:
        """Keep what a layer made of all the tokens, and return it."""
        self.layers[layer] = (key, value)
        return key, value

    def heads(self, layer: torch.nn.Module) -> Heads:
        """A layer's keys and values."""
        return self.layers[layer]

    def rows(self, numbers: torch.Tensor) -> "Segment":
        """Return some of the rows, one of them several times if asked so."""
        return self._each(self.positions.index_select(0, numbers), lambda heads: heads.index_select(0, numbers))

    def first(self, count: int) -> "Segment":
        """Return so many of the tokens, without copying them."""
        return self._each(self.positions[:, :count], lambda heads: heads[:, :, :count])

    def padded(self, length: int) -> "Segment":
        """Return as many tokens, with padding before them."""
        more = length - self.positions.shape[1]
        if not more:
            return self
        longer = self._each(pad(self.positions, (more, 0), value=NOWHERE), lambda heads: pad(heads, (0, 0, more, 0)))
        longer.is_whole = False
        return longer

    def hide(self, rows: torch.Tensor) -> None:
        """Make all tokens of some rows padding, those for which `rows` is True."""
        self.is_whole = self.is_whole and not bool(rows.any())
        self.positions.masked_fill_(rows[:, None], NOWHERE)
        for heads in self.layers.values():
            for each in heads:
                # What nobody sees is weighed with zero, and zero times nan is nan.
                each.masked_fill_(rows[:, None, None, None], 0)

    def trimmed(self) -> "Segment":
        """Return the tokens with all padding before them, and no more of it than the longest row leaves."""
        if self.is_whole:
            return self
        are_there = self.positions != NOWHERE
        longest = int(are_there.sum(1).max())
        order = are_there.int().argsort(dim=1, stable=True)[:, -longest:]
        layers = {}
        for layer, heads in self.layers.items():
            there = order[:, None, :, None].expand(-1, heads[0].shape[1], -1, heads[0].shape[3])
            layers[layer] = (heads[0].gather(2, there), heads[1].gather(2, there))
        positions = self.positions.gather(1, order)
        return Segment(positions, bool((positions != NOWHERE).all()), layers)

    def _each(self, positions: torch.Tensor, change: Any) -> "Segment":
        layers = {layer: (change(keys), change(values)) for layer, (keys, values) in self.layers.items()}
        return Segment(positions, self.is_whole, layers)


def one_after_another(segments: Sequence[Segment]) -> Segment:
    """Segments of the same rows as one, the tokens of the first before those of the second."""
    return _joined(segments, 1)


def one_below_another(segments: Sequence[Segment]) -> Segment:
    """Segments of different rows as one, with padding before those of fewer tokens."""
    length = max(segment.positions.shape[1] for segment in segments)
    return _joined([segment.padded(length) for segment in segments], 0)


def _joined(segments: Sequence[Segment], dim: int) -> Segment:
    if len(segments) == 1:
        return segments[0]
    along = 2 if dim else 0
    layers = {}
    for layer in segments[0].layers:
        keys, values = (torch.cat([segment.layers[layer][each] for segment in segments], along) for each in (0, 1))
        layers[layer] = (keys, values)
    positions = torch.cat([segment.positions for segment in segments], dim)
    return Segment(positions, all(segment.is_whole for segment in segments), layers)


class Written:
    """What is being written: a segment that grows by one token of each row in every step."""

    is_whole = True

    def __init__(self, starts: torch.Tensor) -> None:
        """Begin with no token.

        Args:
            starts: the position of each row's first token, integers [rows].
        """
        self._starts, self._layers = starts, {}
        self.length = 0

    @property
    def positions(self) -> torch.Tensor:
        """Of the tokens so far, [rows, tokens]."""
        return self._starts[:, None] + torch.arange(self.length, device=self._starts.device)

    def step(self) -> torch.Tensor:
        """Make room for one more token of each row; its positions, [rows, 1]."""
        self.length += 1
        return self._starts[:, None] + (self.length - 1)

    def add(self, layer: torch.nn.Module, key: torch.Tensor, value: torch.Tensor) -> Heads:
        """Keep what a layer made of the last token, and return what it has of all."""
        buffers = self._layers.get(layer)
        if buffers is None:
            buffers = self._layers[layer] = tuple(_room(each, _FIRST_ROOM) for each in (key, value))
        elif self.length > buffers[0].shape[2]:
            buffers = self._layers[layer] = tuple(_room(each, 2 * each.shape[2]) for each in buffers)
        for buffer, new in zip(buffers, (key, value), strict=True):
            buffer[:, :, self.length - 1 : self.length] = new
        return buffers[0][:, :, : self.length], buffers[1][:, :, : self.length]

    def rows(self, numbers: torch.Tensor) -> "Written":
        """Return some of the rows, as copies."""
        some = Written(self._starts.index_select(0, numbers))
        some.length = self.length
        for layer, buffers in self._layers.items():
            some._layers[layer] = tuple(each.index_select(0, numbers) for each in buffers)
        return some


def _room(heads: torch.Tensor, length: int) -> torch.Tensor:
    return pad(heads, (0, 0, 0, length - heads.shape[2]))


@dataclass(frozen=True, slots=True)
class Slots:
    """Places of rows among as many for each prompt as the prompt with the most rows has, so that they are a matrix.

    `prompts` are the prompts of the rows and `places` their places, integers [rows]; `width` is the places of a prompt.
    """

    prompts: torch.Tensor
    places: torch.Tensor
    width: int

    @staticmethod
    def of(prompts: Sequence[int], num_prompts: int, device: torch.device) -> "Slots | None":
        """The slots of rows, given their prompts in order; None where each of the prompts has as many rows."""
        counts, places = [0] * num_prompts, []
        for prompt in prompts:
            places.append(counts[prompt])
            counts[prompt] += 1
        width = max(counts)
        if min(counts) == width:
            return None
        there = [prompt * width + place for prompt, place in zip(prompts, places, strict=True)]
        return Slots(torch.tensor(prompts, device=device), torch.tensor(there, device=device), width)

    def spread(self, rows: torch.Tensor, num_prompts: int) -> torch.Tensor:
        """Rows [rows, ...] in their places, with zeros in the others, [num_prompts * width, ...]."""
        return rows.new_zeros(num_prompts * self.width, *rows.shape[1:]).index_copy_(0, self.places, rows)


@dataclass(slots=True)
class Pass:
    """One forward pass: its tokens' `positions` [rows, tokens] see the `past` and, up to themselves, their `own`.

    Rows of the past are fewer by a whole number, or as many: each stands for so many rows that follow each other. Only
    those of the last segment of the past may stand for numbers of rows that differ; `slots` then says for which.
    `longest` is a position that no token is beyond.
    """

    positions: torch.Tensor
    past: list[Segment]
    own: Segment | Written
    longest: int
    slots: Slots | None = None
    _masks: dict[int | None, list[torch.Tensor | None]] = field(default_factory=dict)

    def position_ids(self) -> torch.Tensor:
        """The positions for the model's embedding, in which padding is anywhere."""
        return self.positions.where(self.positions != NOWHERE, 0)

    def visible(self, window: int | None) -> list[torch.Tensor | None]:
        """What each segment shows, masks [rows or 1, tokens, keys], True where a token sees a key; None is all."""
        if window is not None and window > self.longest:
            window = None
        if window not in self._masks:
            self._masks[window] = [self._mask(segment, window) for segment in (*self.past, self.own)]
        return self._masks[window]

    def _mask(self, segment: Segment | Written, window: int | None) -> torch.Tensor | None:
        is_past = segment is not self.own or self.positions.shape[1] == 1
        # Nothing but itself, from the first token on, is what SDPA calls causal.
        if (is_past or not self.past) and segment.is_whole and window is None:
            return None
        keys, asking = segment.positions, self.positions
        if self.slots and segment is self.past[-1]:
            keys = keys.index_select(0, self.slots.prompts)
        elif len(keys) not in (1, len(asking)):
            keys = keys.repeat_interleave(len(asking) // len(keys), dim=0)
        # Padding comes after all and sees itself at least: a token that sees nothing has no softmax.
        visible = keys[:, None, :] <= asking[:, :, None]
        if window is not None:
            visible &= asking[:, :, None] - keys[:, None, :] < window
        return visible
