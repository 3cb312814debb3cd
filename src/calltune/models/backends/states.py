"""What a hybrid model keeps of rows of tokens, so that rows that begin alike go on from there.

Attention keeps keys and values of every token. A recurrent layer keeps its state after the last token alone: the window
of a convolution, the state of a recurrence. So a common beginning goes through the model by itself, up to the place
where rows fork, and each of them goes on from a copy of transformers' cache.

Padding and recurrent layers do not mix, but for two places. Before a row's first token there may be padding, which
transformers' mask keeps out of a state that is still empty. Behind a row's last token there may be some, as nothing
goes on from there. In between, rows go on side by side when as many tokens of each are missing, else one by one.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import pad as padded
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer

from calltune.models.backends.plain import batches_of_like_length, pad_left
from calltune.models.trie import num_shared

_LEAST = 32  # tokens that rows have in common, for which one more pass is worth its while
_LEAST_ON_GPU = 4096  # there a pass costs as much, and behind a common beginning rows go one by one
_TOKENS_AT_ONCE = 512  # that go through the model in one pass; more take longer, as there is more padding
_TOKENS_AT_ONCE_ON_GPU = 8192
_STATES = ("conv_states", "recurrent_states")

Row = tuple[int, ...]
Change = Callable[[list[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Past:
    """What a model keeps of rows of so many tokens, `lengths`; in its cache, shorter ones have padding before them."""

    cache: Any
    lengths: tuple[int, ...]

    @property
    def width(self) -> int:
        """How many keys each row has in the cache, padding included."""
        return max(self.lengths)

    def rows(self, numbers: Sequence[int]) -> "Past":
        """Return some of the rows, one of them several times if asked so, as copies that a pass may write to."""
        lengths = tuple(self.lengths[number] for number in numbers)

        def chosen(tensors: list[torch.Tensor]) -> torch.Tensor:
            return tensors[0].index_select(0, torch.tensor(list(numbers), device=tensors[0].device))

        def keys_chosen(tensors: list[torch.Tensor]) -> torch.Tensor:
            return chosen([tensors[0][:, :, -max(lengths) :]])

        return Past(_made([self.cache], keys_chosen, chosen), lengths)


def joined(pasts: Sequence[Past]) -> Past:
    """The rows of all, one below another, as copies."""
    width = max(past.width for past in pasts)

    def below(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(tensors)

    def keys_below(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([padded(each, (0, 0, width - each.shape[2], 0)) for each in tensors])

    lengths = tuple(length for past in pasts for length in past.lengths)
    return Past(_made([past.cache for past in pasts], keys_below, below), lengths)


def _made(caches: Sequence[Any], of_keys: Change, of_state: Change) -> Any:
    """A cache of what is made of the tensors of each layer; the caches themselves stay as they are.

    Raises:
        ValueError: a layer keeps something else than keys and values, or states.
    """
    whole = copy.copy(caches[0])
    whole.layers = []
    for layers in zip(*(cache.layers for cache in caches), strict=True):
        layer = copy.copy(layers[0])
        if type(layer) is DynamicLayer:
            layer.keys, layer.values = (
                of_keys([each.keys for each in layers]),
                of_keys([each.values for each in layers]),
            )
        elif type(layer) is LinearAttentionLayer:
            # Every dict is the copy's own, since a pass writes to them.
            vars(layer).update({name: dict(each) for name, each in vars(layer).items() if isinstance(each, dict)})
            for name in _STATES:
                for number, state in getattr(layer, name).items():
                    if state is not None:
                        getattr(layer, name)[number] = of_state([getattr(each, name)[number] for each in layers])
        else:
            raise ValueError(f"{type(layer).__name__} is not known")
        whole.layers.append(layer)
    return whole


Beginnings = tuple[list[Row], Past]
"""Rows of tokens, and what the model keeps of them."""


class States:
    """One hybrid model that computes rows, what they have in common once."""

    def __init__(self, model: Any, pad: int, tokens_per_batch: int, least: int | None = None) -> None:
        """Keep the model.

        Args:
            tokens_per_batch: about how many tokens may be kept at once, padding included.
            least: how many tokens rows have to have in common to be computed in a pass of their own.
        """
        self._model, self._pad, self._tokens_per_batch = model, pad, tokens_per_batch
        on_cpu = model.device.type == "cpu"
        self._at_once = _TOKENS_AT_ONCE if on_cpu else _TOKENS_AT_ONCE_ON_GPU
        self._least = least or (_LEAST if on_cpu else _LEAST_ON_GPU)

    def beginnings(self, rows: Collection[Row], room: Callable[[Row], tuple[int, int]]) -> Iterator[Beginnings]:
        """Compute distinct rows, none of them empty, in batches of neighbours in their order.

        A batch has at most `tokens_per_batch` tokens, or one row that has more.

        Args:
            room: how many rows are to go on from this one, and by how many tokens each.
        """
        waiting: list[tuple[Row, Past, int]] = []
        count = longest = growth = 0
        for some, past in self._below(sorted(rows), None):
            for number, row in enumerate(some):
                more, tokens = room(row)
                longest, growth = max(longest, len(row)), max(growth, tokens)
                if waiting and (count + more) * (longest + growth) > self._tokens_per_batch:
                    yield _together(waiting)
                    waiting, count, longest, growth = [], 0, len(row), tokens
                waiting.append((row, past, number))
                count += more
        if waiting:
            yield _together(waiting)

    def _below(self, rows: Sequence[Row], past: Past | None) -> Iterator[Beginnings]:
        """Compute sorted rows that go on from the one row of `past`, or from nothing."""
        depth = past.width if past else 0
        alone: list[Row] = []
        for group in _alike(rows, depth + self._least):
            if len(group) == 1:
                alone += group
                continue
            # In order, what the first and the last have in common all have.
            shared = num_shared(group[0], group[-1])
            yield from self._below(group, self._after(past, [group[0][depth:shared]]))
        if past is None:
            for numbers in batches_of_like_length([len(row) for row in alone], self._at_once):
                batch = [alone[number] for number in numbers]
                yield batch, self._from_nothing(batch)
            return
        by_length: dict[int, list[Row]] = {}
        for row in alone:
            by_length.setdefault(len(row), []).append(row)
        for length, same in by_length.items():
            if length == depth:
                yield same, past
                continue
            at_once = max(1, self._at_once // (length - depth))
            for start in range(0, len(same), at_once):
                batch = same[start : start + at_once]
                yield batch, self._after(past, [row[depth:] for row in batch])

    def _from_nothing(self, rows: Sequence[Row]) -> Past:
        ids, mask = pad_left([list(row) for row in rows], self._pad, self._model.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        outputs = self._backbone(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
        return Past(outputs.past_key_values, tuple(map(len, rows)))

    def _after(self, past: Past | None, rests: Sequence[Row]) -> Past:
        """Go on from the one row of `past`, or from nothing, by as many tokens in each."""
        if past is None:
            return self._from_nothing(rests)
        depth, ids = past.width, torch.tensor([list(rest) for rest in rests], device=self._model.device)
        # Without padding, the model knows from the cache where it stands.
        outputs = self._backbone(input_ids=ids, past_key_values=past.rows([0] * len(rests)).cache, use_cache=True)
        return Past(outputs.past_key_values, (depth + ids.shape[1],) * len(rests))

    def outputs_after(self, past: Past, numbers: Sequence[int], rests: Sequence[Sequence[int]]) -> Any:
        """The backbone's outputs for tokens that come after rows of `past` with these numbers.

        Behind the shorter ones is padding, so nothing can go on from there.
        """
        device, width = self._model.device, max(map(len, rests))
        ids = torch.tensor([[*rest, *[self._pad] * (width - len(rest))] for rest in rests], device=device)
        mine = past.rows(numbers)
        lengths = torch.tensor(mine.lengths, device=device)[:, None]
        positions = lengths + torch.arange(width, device=device)
        mask = None
        if min(mine.lengths) < mine.width:
            mask = (torch.arange(mine.width + width, device=device) >= mine.width - lengths).long()
        return self._backbone(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=mine.cache, use_cache=True
        )

    def scored(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Iterator[tuple[list[int], Any]]:
        """Compute contexts, each once, and what comes after them.

        Args:
            pairs: of context and what is scored after it; a context has two tokens at least.

        Yields:
            Numbers of pairs, and the backbone's outputs for a context's last token and what follows, less the last;
            behind shorter ones is padding.
        """
        by_context: dict[Row, list[int]] = {}
        for number, (context, _) in enumerate(pairs):
            by_context.setdefault(tuple(context[:-1]), []).append(number)

        def room(row: Row) -> tuple[int, int]:
            return len(by_context[row]), max(len(pairs[number][1]) for number in by_context[row])

        for rows, past in self.beginnings(by_context, room):
            asked = [(place, number) for place, row in enumerate(rows) for number in by_context[row]]
            lengths = [len(pairs[number][1]) for _, number in asked]
            for batch in batches_of_like_length(lengths, self._at_once):
                most = max(1, self._tokens_per_batch // (past.width + lengths[batch[0]]))
                for start in range(0, len(batch), most):
                    places, numbers = zip(*(asked[each] for each in batch[start : start + most]), strict=True)
                    rests = [[pairs[number][0][-1], *pairs[number][1][:-1]] for number in numbers]
                    yield list(numbers), self.outputs_after(past, places, rests)

    @property
    def _backbone(self) -> Any:
        return self._model.base_model


def _together(waiting: Sequence[tuple[Row, Past, int]]) -> Beginnings:
    """Rows of several pasts, each with its number there, and one past of them all."""
    parts = []
    for _, group in groupby(waiting, key=lambda each: id(each[1])):
        members = list(group)
        past, numbers = members[0][1], [number for _, _, number in members]
        parts.append(past if numbers == [*range(len(past.lengths))] else past.rows(numbers))
    return [row for row, _, _ in waiting], joined(parts)


def _alike(rows: Sequence[Row], least: int) -> Iterator[list[Row]]:
    """Sorted rows in groups of neighbours that begin with at least so many tokens in common."""
    group: list[Row] = []
    for row in rows:
        if group and num_shared(group[-1], row) < least:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
