"""Answers of a hybrid model, where what prompts have in common is computed once (`states`).

The tokens themselves are written by transformers' `generate`, which goes on from the cache that it is given.
"""

from collections.abc import Collection, Sequence
from typing import Any

from calltune.models.backends.drawing import Answer, Drawing
from calltune.models.backends.plain import PlainGenerator
from calltune.models.backends.states import Row, States


class StateGenerator:
    """One hybrid model that answers prompts."""

    def __init__(self, model: Any, ends: Collection[int], pad: int, tokens_per_batch: int) -> None:
        """Keep the model.

        Args:
            ends: token ids that end an answer.
            tokens_per_batch: about how many tokens a batch may have, padding included.
        """
        self._plain = PlainGenerator(model, ends, pad, tokens_per_batch)
        self._states = States(model, pad, tokens_per_batch)

    def answers(self, prompts: Sequence[list[int]], room: int, drawing: Drawing | None = None) -> list[list[Answer]]:
        """Answers to each prompt of at most `room` tokens: the greedy one, or those that are drawn."""
        answers: list[list[Answer]] = [[] for _ in prompts]
        copies = drawing.num_answers if drawing else 1
        # The last token's logits are asked, so it is left to `generate`.
        by_row: dict[Row, list[int]] = {}
        for number, prompt in enumerate(prompts):
            by_row.setdefault(tuple(prompt[:-1]), []).append(number)
        alone = by_row.pop((), [])
        if alone:
            part = drawing.of(alone) if drawing else None
            found = self._plain.answers([prompts[number] for number in alone], room, part)
            for number, own in zip(alone, found, strict=True):
                answers[number] = own
        for rows, past in self._states.beginnings(by_row, lambda row: (copies * len(by_row[row]), room + 1)):
            numbers = [number for row in rows for number in by_row[row]]
            places = [place for place, row in enumerate(rows) for _ in range(copies * len(by_row[row]))]
            part = drawing.of(numbers) if drawing else None
            found = self._plain.write([prompts[number] for number in numbers], room, part, past.rows(places).cache)
            for number, own in zip(numbers, found, strict=True):
                answers[number] = own
        return answers
