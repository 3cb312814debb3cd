"""Rows whose answers are not ended yet, as one batch that gives up those that are done, and may be parted in two."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from calltune.models.backends.drawing import Answer, Drawing
from calltune.models.backends.segments import Pass, Segment, Written

_KEPT_AT_MOST = 7 / 8  # of a batch's prompts that are left when those that are done are let go


@dataclass(slots=True)
class OpenAnswers:
    """Prompts with `copies` rows each, one below another.

    `past` is what all rows see, `rest` has a row for each prompt, `written` one for each answer. `numbers` are those
    of the rows in the drawing. `tokens` were written last, and `step` is how many each row has written.
    """

    past: list[Segment]
    rest: Segment
    written: Written
    answers: list[Answer]
    numbers: torch.Tensor
    copies: int
    longest: int
    tokens: torch.Tensor
    step: int = 0

    @property
    def num_prompts(self) -> int:
        """How many prompts there are."""
        return len(self.answers) // self.copies

    @property
    def num_tokens(self) -> int:
        """How many tokens the rows have of their own."""
        return self.rest.positions.numel() + self.written.length * len(self.answers)

    def take(self, logits: torch.Tensor, drawing: Drawing | None, ends: Collection[int]) -> bool:
        """Write a token of each row from its logits; whether any row goes on."""
        self.tokens = drawing.tokens(logits, self.numbers, self.step) if drawing else logits.argmax(-1)
        # A nan is the largest of its row; a minus infinity may stand beside numbers.
        finite = logits.amax(-1).isfinite()
        found = torch.stack([self.tokens, finite.long()], 1).tolist()
        for answer, (token, is_finite) in zip(self.answers, found, strict=True):
            if answer.is_open:
                answer.tokens.append(token)
                answer.is_finite = bool(is_finite)
                answer.is_open = answer.is_finite and token not in ends
        self.step += 1
        return any(answer.is_open for answer in self.answers)

    def next_pass(self) -> Pass:
        """The pass that computes the logits after the tokens that were written last."""
        return Pass(self.written.step(), [*self.past, self.rest], self.written, self.longest)

    def without_done(self) -> "OpenAnswers":
        """Let prompts go whose answers are all done, when they are enough to be worth a copy of the others."""
        rows = range(0, len(self.answers), self.copies)
        is_open = [any(answer.is_open for answer in self.answers[row : row + self.copies]) for row in rows]
        kept = [prompt for prompt, one_is in enumerate(is_open) if one_is]
        return self.of(kept) if len(kept) <= _KEPT_AT_MOST * len(is_open) else self

    def of(self, prompts: Sequence[int]) -> "OpenAnswers":
        """Return some of the prompts, with copies of what they have of their own."""
        device = self.tokens.device
        rows = [prompt * self.copies + copy for prompt in prompts for copy in range(self.copies)]
        there = torch.tensor(rows, device=device)
        return OpenAnswers(
            self.past,
            self.rest.rows(torch.tensor(list(prompts), device=device)),
            self.written.rows(there),
            [self.answers[row] for row in rows],
            self.numbers[there],
            self.copies,
            self.longest,
            self.tokens[there],
            self.step,
        )
