"""`[launch] tokens_per_batch`: a trainer's batch goes through the model in passes of at most so many tokens.

A batch stays what it is: the rows that one process adds to an optimiser step. This module decides from their tokens how
many of them are in memory at a time. `bound_passes` replaces one trainer's `training_step` by its own step over each
part of the batch, weighed so that losses and gradients add up to the whole batch's. A batch within the bound is left as
it is.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from calltune.errors import ConfigError
from calltune.models.trie import batches, num_shared
from calltune.training.arguments import is_spread
from calltune.training.layout import BatchLayout, batch_layout, batch_of, laid_out, num_chosen


@dataclass(slots=True)
class Passes:
    """Counts of what one process did: steps, passes, and the passes of a single row or pair beyond the bound.

    `num_parted` are the batches that took several passes; a step of several batches has several passes without one.
    """

    tokens_per_batch: int
    num_steps: int = 0
    num_passes: int = 0
    num_longer: int = 0
    num_parted: int = 0

    def facts(self) -> dict[str, int]:
        """Return the counts as the manifest holds them."""
        return {
            "tokens_per_batch": self.tokens_per_batch,
            "steps": self.num_steps,
            "passes": self.num_passes,
            "passes_longer": self.num_longer,
        }

    def sentence(self) -> str:
        """Return the counts as the user reads them."""
        mean = self.num_passes / max(1, self.num_steps)
        longer = f", but for {self.num_longer:,} of a single row or pair that has more" if self.num_longer else ""
        return f"{mean:.1f} passes a step, each of at most {self.tokens_per_batch:,} tokens{longer}"


def check_passes(tokens_per_batch: int | None, arguments: Any, model_config: Any) -> None:
    """Refuse what cannot be computed in parts with the same outcome.

    Args:
        arguments: TRL's, of either stage.
        model_config: transformers', of the model that is trained.

    Raises:
        ConfigError: packed rows, a loss over the whole batch, a model spread over processes, or an optimiser that steps
            within the backward pass.
    """
    if tokens_per_batch is None:
        return
    losses = arguments.loss_type if isinstance(arguments.loss_type, list) else [str(arguments.loss_type)]
    text, asked = model_config.get_text_config(), vars(arguments)
    balance = asked["router_aux_loss_coef"]
    if balance is None:
        balance = getattr(text, "router_aux_loss_coef", 0.0)
    optimizer = str(getattr(arguments.optim, "value", arguments.optim))
    problems = {
        "packed rows are one row of max_length tokens already; set either it or 'packing'": (
            asked.get("packing") or asked.get("padding_free")
        ),
        "the losses 'aot' and 'aot_unpaired' sort all pairs of a batch": {"aot", "aot_unpaired"} & {*losses},
        "'use_weighting' multiplies the loss 'sft' by a mean over the batch": (
            "sft" in losses and asked.get("use_weighting")
        ),
        "a mixture's balancing loss is one of whole batches; set router_aux_loss_coef = 0": (
            hasattr(text, "output_router_logits") and balance
        ),
        "a model spread over processes has not been tested with it; use strategy 'ddp'": is_spread(arguments),
        f"the optimiser '{optimizer}' steps in every backward pass": "lomo" in optimizer or "layerwise" in optimizer,
    }
    for problem, is_there in problems.items():
        if is_there:
            raise ConfigError(f"'launch.tokens_per_batch' cannot be set: {problem}")


def bound_passes(trainer: Any, tokens_per_batch: int, is_shared: Callable[[], bool]) -> Passes:
    """Let a TRL trainer compute its batches in passes of bounded size, and return what counts them.

    Args:
        is_shared: says, at each batch, whether the model computes what rows have in common once, and no padding.
    """
    passes, whole = Passes(tokens_per_batch), trainer.training_step

    @functools.wraps(whole)
    def training_step(model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        laid = batch_layout(inputs)
        if laid is not None and laid.is_shared == is_shared():
            parts, num_longer = [part.numbers for part in laid.parts], laid.num_longer
        else:
            laid = None
            parts, num_longer = parts_of(inputs, tokens_per_batch, is_shared())
        parts = _as_many(parts, _most(trainer.accelerator, len(parts)))
        ends_step = trainer.accelerator.sync_gradients
        passes.num_steps += ends_step
        passes.num_passes += len(parts)
        passes.num_longer += num_longer
        passes.num_parted += len(parts) > 1
        if len(parts) == 1:
            return whole(model, inputs, num_items_in_batch)
        if "labels" in inputs and num_items_in_batch is None:
            raise ValueError("the trainer does not count the tokens of a step, by which SFT's loss is divided")
        losses = []
        for number, part in enumerate(parts):
            # Within a step that goes on, the trainer itself holds the processes' gradients apart.
            is_apart = ends_step and number + 1 < len(parts)
            with (
                _one_pass(trainer, inputs, part, laid) as chosen,
                trainer.accelerator.no_sync(model) if is_apart else nullcontext(),
            ):
                losses.append(whole(model, chosen, num_items_in_batch))
        return torch.stack(losses).sum()

    trainer.training_step = training_step
    return passes


def parts_of(inputs: Mapping[str, Any], tokens_per_batch: int, is_shared: bool) -> tuple[list[list[int]], int]:
    """Return the numbers of a batch's rows or pairs, pass by pass, and how many of them are longer than the bound."""
    rows, count = _rows(inputs), len(inputs["input_ids"]) // _num_answers(inputs)
    sizes = [_num_tokens(rows[number::count], is_shared) for number in range(count)]
    parts = [sorted(part) for part in _parts(rows, sizes, tokens_per_batch, is_shared)]
    return parts, sum(size > tokens_per_batch for size in sizes)


@contextmanager
def _one_pass(
    trainer: Any, inputs: Mapping[str, Any], numbers: list[int], laid: BatchLayout | None
) -> Iterator[dict[str, Any]]:
    """Yield the batch of one pass, whose loss is weighed, with its layout if one came along.

    It did not where another process needs more passes, and this one cuts its own further.
    """
    own = next((part for part in laid.parts if part.numbers == numbers), None) if laid else None
    if laid is None or own is None:
        chosen = taken(inputs, numbers)
        with _weighed(trainer, inputs, chosen, (num_chosen(chosen), num_chosen(inputs))):
            yield chosen
    else:
        chosen = batch_of(laid, own, inputs)
        with _weighed(trainer, inputs, chosen, (own.num_chosen, laid.num_chosen)), laid_out(chosen, laid, own):
            yield chosen


def _num_answers(inputs: Mapping[str, Any]) -> int:
    """Return how many rows belong together: SFT's batches have labels; DPO's hold chosen rows, then rejected ones."""
    return 1 if "labels" in inputs else 2


def _rows(inputs: Mapping[str, Any]) -> list[list[int]]:
    ids, mask = inputs["input_ids"].cpu(), inputs["attention_mask"].bool().cpu()
    return [row[seen].tolist() for row, seen in zip(ids, mask, strict=True)]


def _num_tokens(rows: Sequence[list[int]], is_shared: bool) -> int:
    """Count the tokens of one row, or of a pair: with padding, or with what the two have in common counted once."""
    first, *others = rows
    if not is_shared:
        return len(rows) * max(map(len, rows))
    return len(first) + sum(len(other) - num_shared(first, other) for other in others)


def _parts(rows: Sequence[list[int]], sizes: Sequence[int], tokens_per_batch: int, is_shared: bool) -> list[list[int]]:
    """Put the numbers of rows or pairs into parts of at most so many tokens; one with more is a part of its own."""
    if is_shared:
        more = [size - len(row) for size, row in zip(sizes, rows, strict=False)]
        return batches(rows[: len(sizes)], tokens_per_batch, more)
    parts: list[list[int]] = []
    for number in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        # The first of a part is its longest, to whose length the others are padded.
        if parts and sizes[parts[-1][0]] * (len(parts[-1]) + 1) <= tokens_per_batch:
            parts[-1].append(number)
        else:
            parts.append([number])
    return parts


def _most(accelerator: Any, count: int) -> int:
    """Return the largest count of all processes. Each must compute as many passes, because TRL gathers in each."""
    if accelerator.num_processes == 1:
        return count
    return int(accelerator.gather(torch.tensor([count], device=accelerator.device)).max())


def _as_many(parts: list[list[int]], count: int) -> list[list[int]]:
    """Cut parts further, until there are so many."""
    parts = [sorted(part) for part in parts]
    while len(parts) < count:
        longest = max(parts, key=len)
        if len(longest) == 1:
            raise ValueError(f"{len(parts)} rows cannot be computed in {count} passes, as another process must")
        parts.remove(longest)
        parts += [longest[::2], longest[1::2]]
    return parts


def taken(inputs: Mapping[str, Any], part: Sequence[int]) -> dict[str, Any]:
    """Return the batch of these rows or pairs, as long as its longest row."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    count = len(ids) // _num_answers(inputs)
    of_pairs = torch.tensor(part, device=ids.device)
    of_rows = torch.cat([of_pairs + first for first in range(0, len(ids), count)])
    columns = mask[of_rows].any(dim=0)
    taken: dict[str, Any] = {}
    for name, values in inputs.items():
        if values.shape == ids.shape:
            taken[name] = values[of_rows][:, columns]
        elif values.shape == (count,):
            taken[name] = values[of_pairs]
        else:
            raise ValueError(f"a batch has '{name}' of shape {tuple(values.shape)}")
    return taken


@contextmanager
def _weighed(
    trainer: Any, inputs: Mapping[str, Any], part: Mapping[str, Any], num_labels: tuple[int, int]
) -> Iterator[None]:
    """Weigh a part's loss by its share of the whole batch.

    SFT's losses are sums over tokens, divided by the tokens of the whole step, and need nothing. DPO's are means over
    pairs, divided by the batches of a step; its loss "sft" is a mean over the chosen answers' tokens.

    Args:
        num_labels: of the chosen answers, in the part and in the batch.
    """
    if _num_answers(inputs) == 1:
        yield
        return
    accumulated, weights = trainer.current_gradient_accumulation_steps, trainer.loss_weights
    share = len(part["input_ids"]) / len(inputs["input_ids"])
    trainer.current_gradient_accumulation_steps = accumulated / share
    trainer.loss_weights = [
        weight * (num_labels[0] / num_labels[1]) / share if loss == "sft" else weight
        for loss, weight in zip(trainer.loss_types, weights, strict=True)
    ]
    try:
        yield
    finally:
        trainer.current_gradient_accumulation_steps, trainer.loss_weights = accumulated, weights
