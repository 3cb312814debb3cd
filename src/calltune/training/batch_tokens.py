"""How many tokens a stage's own batches hold, as they will be computed; known before there is a model or a trainer.

Where common beginnings are computed once, a batch of an agent's turns holds a few distinct tokens and many in its rows.
So batches are drawn in the stage's order and counted, instead of taken to be rows times the longest row.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from peft import PeftModel

from calltune.calling.chat import Chat
from calltune.models.exactness import reason_against_training
from calltune.models.trie import num_shared
from calltune.training.grouping import GroupedSampler
from calltune.training.recipe import FittedRows, whole_texts
from calltune.training.regrouping import reason_against_regrouping
from calltune.training.settings import StageSettings

_MOST_BATCHES = 32
_MOST_CHARACTERS = 16_000_000  # of the rows that are looked at, some seconds of a tokenizer
_MARGIN = 1.2  # for larger batches among those that were not looked at


@dataclass(frozen=True, slots=True)
class BatchTokens:
    """Sizes of a stage's batches; `num_rows` of the largest, in which a pair is two rows.

    `longest` are the tokens of the row or pair that has most, and `largest` those of the largest batch: distinct ones
    where `is_shared`, else padding and all.
    """

    num_rows: int
    longest: int
    largest: int
    is_shared: bool


def batch_tokens(settings: StageSettings, skeleton: Any, chat: Chat, rows: FittedRows) -> BatchTokens:
    """Count what the largest of a stage's batches holds: by up to 32 of them where beginnings are shared, and a margin.

    Args:
        skeleton: the model as it will be trained, without weights.
    """
    arguments: Any = settings.arguments
    if settings.stage == "grpo":
        return _drawn(arguments, rows, _may_share(settings, skeleton))
    num_answers = 2 if settings.stage == "dpo" else 1
    if getattr(arguments, "packing", False) or getattr(arguments, "padding_free", False):
        num_rows = arguments.per_device_train_batch_size
        return BatchTokens(num_rows, rows.max_length, num_rows * rows.max_length, is_shared=False)
    num_rows = num_answers * min(arguments.per_device_train_batch_size, len(rows.texts))
    whole = num_rows * rows.max_length
    if not _may_share(settings, skeleton):
        return BatchTokens(num_rows, num_answers * rows.max_length, whole, is_shared=False)
    seen = max(num_distinct(batch) for batch in _sampled(settings, chat, rows))
    largest = max(rows.longest, min(whole, math.ceil(_MARGIN * seen)))
    return BatchTokens(num_rows, rows.longest, largest, is_shared=True)


def _drawn(arguments: Any, rows: FittedRows, is_shared: bool) -> BatchTokens:
    """Batches of answers that are not drawn yet, each as long as it may be and after the longest prompt.

    Where TRL shuffles what is drawn at a time over several batches, each answer of a batch may have its own prompt.
    """
    num_rows, room = arguments.per_device_train_batch_size, arguments.max_completion_length
    if not is_shared:
        return BatchTokens(num_rows, rows.max_length, num_rows * rows.max_length, is_shared=False)
    is_whole = arguments.steps_per_generation == 1 or reason_against_regrouping(arguments) is None
    # A group may begin in one batch and end in the next.
    num_groups = math.ceil(num_rows / arguments.num_generations) + bool(num_rows % arguments.num_generations)
    num_prompts = min(num_rows, num_groups) if is_whole else num_rows
    largest = num_prompts * (rows.max_length - room) + num_rows * room
    return BatchTokens(num_rows, rows.max_length, largest, is_shared=True)


def num_distinct(rows: Iterable[list[int]]) -> int:
    """Count the tokens of rows with common beginnings counted once, as `calltune.models.trie.pack` lays them out."""
    ordered = sorted(rows)
    return sum(map(len, ordered)) - sum(num_shared(left, right) for left, right in pairwise(ordered))


def _may_share(settings: StageSettings, skeleton: Any) -> bool:
    """Whether prefixes will be shared, as far as that is known without the weights."""
    if not settings.share_prefixes:
        return False
    inner = skeleton.get_base_model() if isinstance(skeleton, PeftModel) else skeleton
    return reason_against_training(skeleton, inner, settings.model_keys.get("attn_implementation", "sdpa")) is None


def _sampled(settings: StageSettings, chat: Chat, rows: FittedRows) -> Iterable[list[list[int]]]:
    """The first batches of the first epoch, as rows of token ids."""
    size = settings.arguments.train_batch_size
    order = list(islice(_order(settings, rows), _MOST_BATCHES * size))
    num_characters = 0
    for start in range(0, len(order), size):
        texts = [text for number in order[start : start + size] for text in whole_texts(rows.texts[number], chat.ends)]
        yield chat.tokenizer(texts).input_ids
        num_characters += sum(map(len, texts))
        if num_characters >= _MOST_CHARACTERS:
            return


def _order(settings: StageSettings, rows: FittedRows) -> Sequence[int] | Iterable[int]:
    """Row numbers as the trainer's own sampler draws them; where it sorts by length, the longest come first."""
    arguments: Any = settings.arguments
    count = len(rows.texts)
    seed = arguments.seed if arguments.data_seed is None else arguments.data_seed
    if settings.group_by:
        return GroupedSampler(rows.groups, arguments.train_batch_size, arguments.data_seed or arguments.seed)
    strategy = getattr(arguments, "train_sampling_strategy", "random")
    if strategy == "sequential":
        return range(count)
    if strategy != "random":
        return sorted(range(count), key=lambda number: -sum(map(len, rows.texts[number].values())))
    return SeedableRandomSampler(range(count), data_seed=seed)
