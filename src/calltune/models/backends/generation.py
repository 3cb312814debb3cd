"""Answers token by token, where what prompts have in common is computed once and kept, and finished rows leave.

A batch's prompts are computed in three steps: what all of them begin with, once, from `PromptCache`; what some of them
begin with, once for these; and the rest of each. Then every row writes a token at a time; on a CPU, answers that are
drawn to one prompt are one row while they are the same (`open_answers`). It is the greedy decoding of transformers'
`generate`, or its sampling with `drawing.Draw`, over another cache (`segments`).
"""

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import torch

from calltune.models.backends.batching import alike, beginnings
from calltune.models.backends.drawing import Answer, Drawing
from calltune.models.backends.open_answers import OpenAnswers, Row, numbers_of
from calltune.models.backends.prompt_cache import PromptCache
from calltune.models.backends.segment_attention import ATTENTION
from calltune.models.backends.segments import (
    NOWHERE,
    Pass,
    Segment,
    Written,
    one_after_another,
    one_below_another,
)
from calltune.models.exactness import in_true_precision, is_checkable
from calltune.models.layer_kinds import RECURRENT, layer_kinds
from calltune.models.prefix import shared_attention

_TOKENS_AT_ONCE = 512  # of prompts that go through the model in one pass; more take longer, as there is more padding
_TOKENS_AT_ONCE_ON_GPU = 8192
_USUAL_ANSWER = 64  # tokens that a batch has room for in each row; one whose answers grow longer is parted


class Generator:
    """One model that answers prompts.

    `merges` says whether answers that are drawn to one prompt are one row while they are the same. A GPU computes some
    rows in the time of one, and would only copy what is written when they part.
    """

    def __init__(self, model: Any, ends: Collection[int], pad: int, tokens_per_batch: int) -> None:
        """Begin with nothing kept.

        Args:
            ends: token ids that end an answer.
            tokens_per_batch: about how many tokens a batch may have; a quarter as many are kept for the next ones.
        """
        self._model, self._ends, self._pad, self._tokens_per_batch = model, frozenset(ends), pad, tokens_per_batch
        self.merges = model.device.type == "cpu"
        self.cache = PromptCache(tokens_per_batch // 4, self._one_row)

    def answers(self, prompts: Sequence[list[int]], room: int, drawing: Drawing | None = None) -> list[list[Answer]]:
        """Answers to each prompt of at most `room` tokens: the greedy one, or those that are drawn."""
        copies = drawing.num_answers if drawing else 1
        answers = [[Answer([], is_open=True) for _ in range(copies)] for _ in prompts]
        if not room:
            return answers
        with shared_attention(self._model, ATTENTION):
            for numbers, shared in alike(prompts, self._tokens_per_batch, min(room, _USUAL_ANSWER), copies):
                rows = [answer for number in numbers for answer in answers[number]]
                part = drawing.of(numbers) if drawing else None
                self._finish(*self._begun([prompts[number] for number in numbers], shared, rows, room), room, part)
        return answers

    def _begun(
        self, prompts: Sequence[list[int]], shared: int, answers: list[Answer], room: int
    ) -> tuple[list[OpenAnswers], list[torch.Tensor]]:
        """Sorted prompts, computed, with the logits after them for each row; each in a list that can be emptied."""
        copies, device = len(answers) // len(prompts), self._model.device
        past, rest, logits = self._prompts(prompts, shared)
        merges = self.merges and copies > 1
        together = copies if merges else 1
        rows = [Row(first // copies, [*range(first, first + together)]) for first in range(0, len(answers), together)]
        starts = torch.tensor([len(prompts[row.prompt]) for row in rows], device=device)
        longest = max(map(len, prompts)) + room
        numbers = numbers_of(rows, device)
        batch = OpenAnswers(past, rest, Written(starts), answers, rows, numbers, merges, longest, starts)
        return [batch], [logits.repeat_interleave(copies // together, dim=0)]

    def _finish(
        self, batches: list[OpenAnswers], first_logits: list[torch.Tensor], room: int, drawing: Drawing | None
    ) -> None:
        """Write the answers of all batches to their ends; they leave the list, so that memory comes back."""
        while batches:
            batch = batches.pop()
            while True:
                logits = first_logits.pop() if first_logits else self._logits(batch.tokens[:, None], batch.next_pass())
                if not batch.take(logits, drawing, self._ends) or batch.step == room:
                    break
                batch = batch.without_done()
                if batch.num_tokens > self._tokens_per_batch and batch.num_prompts > 1:
                    # Answers grew longer than usual: half of the rows wait until the others have ended.
                    half = batch.num_prompts // 2
                    batches.append(batch.of(range(half, batch.num_prompts)))
                    batch = batch.of(range(half))

    def two_steps(self, prompts: Sequence[list[int]], tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits after sorted prompts that begin alike, and after one token more of each; [prompts, vocabulary]."""
        past, rest, logits = self._prompts(prompts, 40)
        written = Written(torch.tensor([len(prompt) for prompt in prompts], device=tokens.device))
        asked = Pass(written.step(), [*past, rest], written, max(map(len, prompts)))
        return logits, self._logits(tokens[:, None], asked)

    def _prompts(self, prompts: Sequence[list[int]], shared: int) -> tuple[list[Segment], Segment, torch.Tensor]:
        """Compute sorted prompts of which the first tokens are shared by all.

        Returns:
            What all rows see, a segment with a row for each prompt, and the logits after each [prompts, vocabulary].
        """
        head = self.cache.get(prompts[0][:shared], len(prompts))
        past = [head] if head else []
        start = head.positions.shape[1] if head else 0
        rests = [prompt[start:] for prompt in prompts]
        parts = [(rests[numbers[0]][:count], numbers) for numbers, count in beginnings(rests)]
        common = [part for part, _ in parts if part]
        if not common:
            segment, logits = self._rows(rests, past, [start] * len(rests))
            return past, segment, logits
        device = self._model.device
        begun = torch.tensor([len(part) for part, numbers in parts for _ in numbers], device=device)
        which = itertools.accumulate(bool(part) for part, _ in parts)
        where = [max(0, each - 1) for each, (_, numbers) in zip(which, parts, strict=True) for _ in numbers]
        seen = self._rows(common, past, [start] * len(common))[0].rows(torch.tensor(where, device=device))
        seen.hide(begun == 0)
        tails = [rest[count:] for rest, count in zip(rests, begun.tolist(), strict=True)]
        segment, logits = self._rows(tails, past, (start + begun).tolist(), seen)
        return past, one_after_another([seen, segment]).trimmed(), logits

    def _one_row(self, tokens: Sequence[int], past: Sequence[Segment]) -> Segment:
        return self._rows([list(tokens)], past, [sum(segment.positions.shape[1] for segment in past)])[0]

    def _rows(
        self, rows: Sequence[list[int]], past: Sequence[Segment], starts: Sequence[int], own: Segment | None = None
    ) -> tuple[Segment, torch.Tensor]:
        """Compute rows of tokens, those of like length together; their segment, and the logits after each.

        Args:
            past: what all the rows see.
            starts: the position of each row's first token.
            own: a segment of which each row sees its row.
        """
        device = self._model.device
        at_once = _TOKENS_AT_ONCE if device.type == "cpu" else _TOKENS_AT_ONCE_ON_GPU
        order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
        segments, logits, done = [], [], 0
        while done < len(order):
            width = len(rows[order[done]])
            numbers = order[done : done + max(1, at_once // width)]
            done += len(numbers)
            padding = {number: width - len(rows[number]) for number in numbers}
            ids = [[self._pad] * padding[number] + rows[number] for number in numbers]
            places = [
                [NOWHERE] * padding[number] + [*range(starts[number], starts[number] + len(rows[number]))]
                for number in numbers
            ]
            segment = Segment(torch.tensor(places, device=device), not any(padding.values()))
            seen = [*past, own.rows(torch.tensor(numbers, device=device))] if own else [*past]
            longest = max(starts[number] + len(rows[number]) for number in numbers)
            asked = Pass(segment.positions, seen, segment, longest)
            logits.append(self._logits(torch.tensor(ids, device=device), asked))
            segments.append(segment)
        whole, all_logits = one_below_another(segments), torch.cat(logits)
        if order == sorted(order):
            return whole, all_logits
        back = torch.tensor(sorted(range(len(order)), key=order.__getitem__), device=device)
        return whole.rows(back), all_logits[back]

    def _logits(self, ids: torch.Tensor, asked: Pass) -> torch.Tensor:
        """Logits after the last token of each row, [rows, vocabulary], float32."""
        outputs = self._model(
            input_ids=ids, position_ids=asked.position_ids(), use_cache=False, logits_to_keep=1, segments=asked
        )
        return outputs.logits[:, -1].float()


def segment_fault(model: Any) -> str | None:
    """None when a model's logits over segments are those of plain rows, as far as its precision allows, else why not.

    It is asked after `exactness.can_share`, which has seen that attention can be replaced, windows and all.
    """
    if others := RECURRENT & {*layer_kinds(model)}:
        return f"it has layers of another kind: {', '.join(sorted(others))}"
    if is_checkable(model):
        return in_true_precision(model, lambda: _segment_fault(model, 1e-3))
    return _segment_fault(model, 1e-3 if model.dtype == torch.float32 else 0.1)


def _segment_fault(model: Any, tolerance: float) -> str | None:
    size = model.config.get_text_config(decoder=True).vocab_size
    head, part = [*range(3, 43)], [*range(50, 90)]
    rows = (head + part[:3], [*head, *part, 5], [*head, *part, 6, 7, 8], [*head, 4])
    prompts = sorted([token % size for token in row] for row in rows)
    written = torch.tensor([token % size for token in (5, 6, 7, 8)], device=model.device)
    generator = Generator(model, (), 0, 2**14)
    try:
        with shared_attention(model, ATTENTION):
            first, second = generator.two_steps(prompts, written)
        for number, prompt in enumerate(prompts):
            ids = torch.tensor([[*prompt, int(written[number])]], device=model.device)
            plain = model(input_ids=ids, use_cache=False).logits[0, -2:].float()
            there = torch.stack([first[number], second[number]])
            error = float((there - plain).abs().max() / plain.abs().max())
            if not error <= tolerance:
                return f"its logits are others when prompts share what they begin with, by {error:.1g}"
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        return f"its attention is not known: {str(error).splitlines()[0]}"
    return None
