"""Times parts of a stage's batches, where a whole step takes longer than there is time for.

A part is some rows of a batch, or the beginning of one row. What is wanted is the time of a unit of work, which a part
has like its batch; and a signal waits for one part at most, since torch computes a backward pass in one call.
"""

import math
import time
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import save_file

from calltune.files.hashes import file_sha256
from calltune.training.batch_tokens import num_distinct
from calltune.training.steady import is_steady
from calltune.training.work import FORWARD, Work, rows_of

_FEWEST_TOKENS = 32
_GROWTH = 4
_OF_LIMIT = 1 / 12  # for one forward pass, while they grow; and all of them together take hardly twice that
_MOST_BYTES = 2**28  # that are written to learn how fast the disk is


class Pieces:
    """Parts of the first batches of a trainer, and what was learned from them.

    `per_work` is the seconds of a unit of work, forward and backward; after `grow` an upper bound, by forward passes.
    """

    def __init__(self, trainer: Any, work: Work, tokens_per_batch: int | None) -> None:
        model = trainer.model
        self._trainer, self._work, self._most_tokens = trainer, work, tokens_per_batch or math.inf
        self._model: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self._device = trainer.accelerator.device
        self._rows = [rows for batch in islice(trainer.get_train_dataloader(), 4) for rows in rows_of(batch)]
        self.per_work = 0.0
        self.per_token = 0.0

    def grow(self, limit: float) -> None:
        """Time forward passes, first of 32 tokens of a short row, then of more, as long as they are quick."""
        rows, count = [min(chain(*self._rows), key=len)], _FEWEST_TOKENS
        whole = max(map(num_distinct, self._rows))
        while True:
            seconds, work, tokens = self._passed(_cut(rows, count), is_backward=False)
            self.per_work = seconds / (work * FORWARD)
            self.per_token = self.per_work * work / tokens
            if count >= whole or seconds * _GROWTH > limit * _OF_LIMIT:
                return
            rows, count = self._rows[0], count * _GROWTH

    def go_back(self, limit: float) -> bool:
        """Time forward and backward passes for so many seconds, none of which takes much more than a third of them.

        Returns:
            Whether there was time for one; otherwise the forward passes alone have to do.
        """
        spent, done, rates, number = 0.0, 0.0, list[float](), 0
        while not is_steady(spent, rates):
            count = int(min(limit / 3 / self.per_token, self._most_tokens))
            if count < _FEWEST_TOKENS or (rates and spent + limit / 3 > limit):
                break
            rows = self._rows[number % len(self._rows)]
            seconds, work, tokens = self._passed(_cut(rows, count), is_backward=True)
            spent, done, rates, number = spent + seconds, done + work, [*rates, seconds / work], number + 1
            self.per_work = spent / done
            self.per_token = seconds / tokens
        return bool(rates)

    def optimizer_step(self) -> float:
        """The seconds of one optimiser step over the gradients there are; of the second one where that is quick."""
        optimizer = self._trainer.create_optimizer()
        parameters = [each for each in self._model.parameters() if each.grad is not None]
        seconds = 0.0
        for _ in range(2):
            begun = time.perf_counter()
            torch.nn.utils.clip_grad_norm_(parameters, self._trainer.args.max_grad_norm or 1.0)
            optimizer.step()
            seconds = self._elapsed(begun)
            if seconds > 1.0:
                break
        return seconds

    def per_byte(self, folder: Path) -> float:
        """The seconds that a byte of weights takes to be written and hashed, by a few of them."""
        wanted, size = dict[str, torch.Tensor](), 0
        for name, each in self._model.named_parameters():
            wanted[name] = each.detach().flatten()[: (_MOST_BYTES - size) // each.element_size()].cpu().clone()
            size += wanted[name].nbytes
            if size >= _MOST_BYTES - 8:
                break
        folder.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        save_file(wanted, folder / "written.safetensors")
        file_sha256(folder / "written.safetensors")
        seconds = time.perf_counter() - begun
        (folder / "written.safetensors").unlink()
        return seconds / size

    def _passed(self, rows: list[list[int]], is_backward: bool) -> tuple[float, float, int]:
        """Pass rows through the backbone: the seconds, the work of a step over them, and their distinct tokens."""
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self._device)
        is_half = bool(self._trainer.args.bf16)
        begun = time.perf_counter()
        with (
            torch.set_grad_enabled(is_backward),
            torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=is_half),
        ):
            outputs = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        if is_backward:
            outputs.last_hidden_state.float().square().mean().backward()
        batch = {"input_ids": ids.cpu(), "attention_mask": mask.cpu()}
        return self._elapsed(begun), self._work.of(batch), num_distinct(rows)

    def _elapsed(self, begun: float) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun


def _cut(rows: list[list[int]], num_tokens: int) -> list[list[int]]:
    """As many of the rows as have so many distinct tokens, at least the beginning of the first."""
    kept = [rows[0][:num_tokens]]
    for row in rows[1:]:
        if num_distinct([*kept, row]) > num_tokens:
            break
        kept.append(row)
    return kept
