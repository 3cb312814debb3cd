"""Rows whose answers are not ended yet, as one batch that gives up those that are done, and may be parted in two.

Answers that are drawn to one prompt are alike for a while: a call begins in one way, whatever its arguments are. Where
each row costs its time, as on a CPU, answers whose tokens are the same so far are one row, which parts when they draw
different ones. Each draws with numbers of its own from the logits of its row, so nothing else changes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from calltune.models.backends.drawing import Answer, Drawing
from calltune.models.backends.segments import Pass, Segment, Slots, Written

_KEPT_AT_MOST = 7 / 8  # of a batch's prompts or rows that are left when those that are done are let go


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is written: its prompt's place in the batch, and its answers by their numbers."""

    prompt: int
    answers: list[int]


def numbers_of(rows: Sequence[Row], device: torch.device) -> torch.Tensor:
    """The numbers of each row's answers, [rows, answers of the widest], with the first one again in narrower rows."""
    width = max(len(row.answers) for row in rows)
    return torch.tensor([row.answers + row.answers[:1] * (width - len(row.answers)) for row in rows], device=device)


@dataclass(slots=True)
class OpenAnswers:
    """Rows, those of a prompt side by side.

    `past` is what all rows see, `rest` has a row for each prompt, `written` one for each row. `answers` are all, those
    that other batches write too, and `numbers` those of the rows (`numbers_of`), by which drawing knows them. `tokens`
    were written last, one a row, and `step` is how many each row has written. Without `merges`, each prompt keeps as
    many rows as it has answers.
    """

    past: list[Segment]
    rest: Segment
    written: Written
    answers: list[Answer]
    rows: list[Row]
    numbers: torch.Tensor
    merges: bool
    longest: int
    tokens: torch.Tensor
    step: int = 0

    @property
    def num_prompts(self) -> int:
        """How many prompts there are."""
        return len(self.rest.positions)

    @property
    def num_tokens(self) -> int:
        """How many tokens the rows have of their own."""
        return self.rest.positions.numel() + self.written.length * len(self.rows)

    def take(self, logits: torch.Tensor, drawing: Drawing | None, ends: Collection[int]) -> bool:
        """Write a token of each answer from its row's logits; whether any answer goes on."""
        tokens = drawing.tokens(logits, self.numbers, self.step) if drawing else logits.argmax(-1, keepdim=True)
        # A nan is the largest of its row; a minus infinity may stand beside numbers.
        finite = logits.amax(-1, keepdim=True).isfinite()
        found = torch.cat([tokens, finite.long()], 1).tolist()
        for row, (*drawn, is_finite) in zip(self.rows, found, strict=True):
            # A row of fewer answers than the widest has more numbers than it needs.
            for number, token in zip(row.answers, drawn, strict=False):
                answer = self.answers[number]
                if answer.is_open:
                    answer.tokens.append(token)
                    answer.is_finite = bool(is_finite)
                    answer.is_open = answer.is_finite and token not in ends
        self.step += 1
        goes_on = any(map(self._is_open, self.rows))
        if self.numbers.shape[1] == 1:
            self.tokens = tokens[:, 0]
        elif goes_on:
            self._part()
        return goes_on

    def _part(self) -> None:
        """Make rows of the answers that wrote the same token; the last token of each row is one of its answers'."""
        places, rows = [], []
        for place, row in enumerate(self.rows):
            same: dict[int, list[int]] = {}
            for number in row.answers:
                if self.answers[number].is_open:
                    same.setdefault(self.answers[number].tokens[-1], []).append(number)
            # A row whose answers are all done stays until rows are copied anyway.
            for numbers in same.values() or [row.answers[:1]]:
                places.append(place)
                rows.append(Row(row.prompt, numbers))
        if len(rows) > len(self.rows):
            kept = [n for n, row in enumerate(rows) if self._is_open(row)]
            rows = [rows[n] for n in kept]
            self.written = self.written.rows(torch.tensor([places[n] for n in kept], device=self.tokens.device))
        self.rows, self.numbers = rows, numbers_of(rows, self.tokens.device)
        last = [self.answers[row.answers[0]].tokens[-1] for row in rows]
        self.tokens = torch.tensor(last, device=self.tokens.device)

    def next_pass(self) -> Pass:
        """The pass that computes the logits after the tokens that were written last."""
        slots = Slots.of([row.prompt for row in self.rows], self.num_prompts, self.tokens.device)
        return Pass(self.written.step(), [*self.past, self.rest], self.written, self.longest, slots)

    def without_done(self) -> "OpenAnswers":
        """Let prompts and rows go whose answers are all done, when they are enough to be worth a copy of the others."""
        is_open = [self._is_open(row) for row in self.rows]
        prompts = sorted({row.prompt for row, one_is in zip(self.rows, is_open, strict=True) if one_is})
        if len(prompts) <= _KEPT_AT_MOST * self.num_prompts:
            return self.of(prompts)
        if self.merges and sum(is_open) <= _KEPT_AT_MOST * len(self.rows):
            return self._picked([place for place, one_is in enumerate(is_open) if one_is])
        return self

    def of(self, prompts: Sequence[int]) -> "OpenAnswers":
        """Return some of the prompts, with copies of what they have of their own."""
        new = {prompt: place for place, prompt in enumerate(prompts)}
        some = self._picked(
            [
                place
                for place, row in enumerate(self.rows)
                if row.prompt in new and (self._is_open(row) or not self.merges)
            ]
        )
        some.rows = [Row(new[row.prompt], row.answers) for row in some.rows]
        some.rest = self.rest.rows(torch.tensor(list(prompts), device=self.tokens.device))
        return some

    def _picked(self, places: Sequence[int]) -> "OpenAnswers":
        there = torch.tensor(places, device=self.tokens.device)
        rows = [self.rows[place] for place in places]
        written = self.written.rows(there)
        return replace(self, written=written, rows=rows, numbers=self.numbers[there], tokens=self.tokens[there])

    def _is_open(self, row: Row) -> bool:
        return any(self.answers[number].is_open for number in row.answers)
