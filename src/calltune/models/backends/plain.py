"""Answers by transformers' own `generate`, for models of whose cache nothing can be shared between rows."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache, LogitsProcessorList
from transformers.cache_utils import DynamicLayer

from calltune.models.backends.drawing import Answer, Draw, Drawing, Watch


class PlainGenerator:
    """One model that answers prompts, each of which is computed for itself."""

    def __init__(self, model: Any, ends: Collection[int], pad: int, tokens_per_batch: int) -> None:
        """Keep the model.

        Args:
            ends: token ids that end an answer.
            tokens_per_batch: upper bound of the tokens of a batch, padding included.
        """
        self._model, self._ends, self._pad, self._tokens_per_batch = model, frozenset(ends), pad, tokens_per_batch

    def answers(self, prompts: Sequence[list[int]], room: int, drawing: Drawing | None = None) -> list[list[Answer]]:
        """Answers to each prompt of at most `room` tokens: the greedy one, or those that are drawn."""
        answers: list[list[Answer]] = [[] for _ in prompts]
        copies = drawing.num_answers if drawing else 1
        for batch in batches_of_like_length([len(each) for each in prompts], self._tokens_per_batch, room, copies):
            some, cache = [prompts[number] for number in batch], None
            part = drawing.of(batch) if drawing else None
            if drawing:
                # The prompt is computed once for all its answers.
                cache = self._cache_of(*pad_left(some, self._pad, self._model.device), copies)
            for number, own in zip(batch, self.write(some, room, part, cache), strict=True):
                answers[number] = own
        return answers

    def write(
        self,
        prompts: Sequence[list[int]],
        room: int,
        drawing: Drawing | None = None,
        cache: Any = None,
        streamer: Any = None,
    ) -> list[list[Answer]]:
        """Answers to the prompts of one batch.

        Args:
            cache: what the model keeps of all but the last token of each prompt, padded on the left, with a row for
                each answer.
            streamer: what `generate` hands the tokens to as they are written, for one prompt.
        """
        copies = drawing.num_answers if drawing else 1
        ids, mask = pad_left(prompts, self._pad, self._model.device)
        watch = Watch()
        processors = LogitsProcessorList([watch])
        if drawing:
            processors.append(Draw(drawing.numbers, ids.shape[1], drawing.temperature, drawing.top_p))
        generated = self._model.generate(
            input_ids=ids.repeat_interleave(copies, dim=0),
            attention_mask=mask.repeat_interleave(copies, dim=0),
            max_new_tokens=room,
            logits_processor=processors,
            streamer=streamer,
            **({} if cache is None else {"past_key_values": cache}),
        )
        answers: list[list[Answer]] = [[] for _ in prompts]
        for row, tokens in enumerate(generated[:, ids.shape[1] :].tolist()):
            answers[row // copies].append(self._answer(tokens, watch.first(row)))
        return answers

    def _answer(self, tokens: list[int], first_bad: int | None) -> Answer:
        length = next((place for place, token in enumerate(tokens) if token in self._ends), len(tokens))
        return Answer(tokens[: length + 1], first_bad is None or first_bad > length)

    def _cache_of(self, ids: torch.Tensor, mask: torch.Tensor, copies: int) -> Any:
        """What the model keeps of prompts, for so many answers to each; None where it cannot be copied."""
        if ids.shape[1] == 1:
            return None
        # All but the last token, whose logits `generate` wants to compute.
        ids, mask = ids[:, :-1], mask[:, :-1]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        outputs = self._model.base_model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
        cache = outputs.past_key_values
        if not isinstance(cache, DynamicCache) or not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
            return None
        cache.batch_repeat_interleave(copies)
        return cache


def pad_left(rows: Sequence[list[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids with padding before shorter rows, and the mask that is 0 there; both [rows, tokens]."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def batches_of_like_length(
    lengths: Sequence[int], tokens_per_batch: int, room: int = 0, copies: int = 1
) -> Iterator[list[int]]:
    """Row numbers in batches of like length, longest first, each within the bound of tokens with its copies.

    Args:
        room: how many tokens each copy of a row may grow by.
    """
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        widest = lengths[batch[0]] if batch else lengths[number]
        if batch and (len(batch) + 1) * copies * (widest + room) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
