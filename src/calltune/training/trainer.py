"""TRL's trainer over a stage's rows, with what calltune lays over its models."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import datasets
import torch

from calltune.models.backends.tokens import end_ids
from calltune.models.fused import fuse
from calltune.runtime.terminal import say
from calltune.training.arguments import TrlArguments, allow_sharding_on_cpu, is_spread, refusals_of_trl
from calltune.training.balancing import balance_questions
from calltune.training.collating import lay_out_batches
from calltune.training.grouping import group_batches
from calltune.training.labelled_head import score_labels_only
from calltune.training.left_padding import move_left_padding
from calltune.training.masters import Masters
from calltune.training.passes import bound_passes
from calltune.training.questions import asking_chat
from calltune.training.ready import Ready
from calltune.training.recipe import FittedRows, trainer_rows
from calltune.training.reference import stand_in
from calltune.training.regrouping import keep_groups_together
from calltune.training.rollouts import Rollouts, end_answers_with, reason_for_trl
from calltune.training.settings import StageSettings
from calltune.training.sharing import Sharing, share_prefixes
from calltune.training.tuning import (
    load_to_train,
    weights_told,
)


def make_trainer(ready: Ready, model: Any = None) -> Any:
    """TRL's trainer over the rows, with what calltune lays over its models.

    Args:
        model: instead of the one to be trained, such as one without weights, to count steps with.
    """
    # PEFT writes into its configuration what it finds in the model; the settings stay as they are.
    lora = None if model else copy.deepcopy(ready.settings.lora)
    allow_sharding_on_cpu()
    arguments = ready.arguments if model is None else _for_counting(ready.arguments)
    loaded = model or load_to_train(ready.settings, ready.plan, ready.model)
    draws = ready.recipe.rewards is not None
    ends = sorted(end_ids(loaded.generation_config, ready.chat)) if draws else []
    with warnings.catch_warnings(), refusals_of_trl(ready.settings.stage):
        # TRL calls it experimental; a test holds what it is handed and what it hands on.
        warnings.filterwarnings("ignore", message=".*'rollout_func'.*", category=UserWarning)
        trainer = ready.recipe.trainer(
            args=arguments,
            model=loaded,
            train_dataset=to_dataset(_rows(ready, ready.rows)),
            eval_dataset=to_dataset(_rows(ready, ready.watched, len(ready.rows.texts)))
            if ready.watched.texts
            else None,
            processing_class=ready.chat.tokenizer,
            peft_config=lora,
            **(_drawing(ready, ends) if draws else stand_in(arguments, is_peft=lora is not None)),
        )
    if draws:
        end_answers_with(trainer, ends)
        balance_questions(trainer, ready.rows.groups)
        keep_groups_together(trainer)
    for each in (trainer.model, getattr(trainer, "ref_model", None)):
        if each is not None:
            # DeepSpeed puts its engine around a reference.
            score_labels_only(getattr(each, "module", each))
            if draws:
                move_left_padding(getattr(each, "module", each))
    if model is None:
        bounded, accumulated = ready.settings.tokens_per_batch, ready.arguments.gradient_accumulation_steps
        if ready.settings.has_masters:
            Masters(trainer, adds_up=bounded is not None or accumulated > 1)
        _fuse(ready, trainer)
    return trainer


def _rows(ready: Ready, rows: FittedRows, first: int = 0) -> list[dict[str, Any]]:
    """Rows as the trainer takes them; to a question belong its id, and the number by which its answers are judged."""
    if ready.recipe.rewards is None:
        return trainer_rows(ready.chat, rows.texts)
    named = enumerate(zip(rows.texts, rows.ids, strict=True), start=first)
    return [{"prompt": text["prompt"], "id": name, "number": number} for number, (text, name) in named]


def _drawing(ready: Ready, ends: Sequence[int]) -> dict[str, Any]:
    """What a trainer that draws answers is given: who judges them, and who draws them where that is not TRL."""
    rewards, stage = ready.recipe.rewards, ready.settings.stage
    assert rewards is not None, "answers are drawn to be judged"
    chat = asking_chat(ready.chat, ready.settings)
    given: dict[str, Any] = {"reward_funcs": rewards(chat, ends, [*ready.rows.rows, *ready.watched.rows])}
    if reason := reason_for_trl(ready.arguments):
        say(f"{stage}: TRL draws the answers itself: {reason}")
        return given
    return {**given, "rollout_func": Rollouts(chat, ready.arguments.seed)}


def _for_counting(arguments: TrlArguments) -> TrlArguments:
    """Arguments for a model without weights, which has no reference, and which no engine is started for."""
    few: Any = copy.copy(arguments)
    if hasattr(few, "num_generations"):
        few.beta, few.sync_ref_model, few.use_vllm = 0.0, False, False
    return few


def _fuse(ready: Ready, trainer: Any) -> None:
    """Lay fused kernels over a trainer's model, and say in which precision and with which kernels it computes.

    Nothing is said of float32 on a CPU, unless it was asked for something else.
    """
    settings, arguments = ready.settings, ready.arguments
    dtype = torch.bfloat16 if arguments.bf16 else torch.float16 if arguments.fp16 else None
    fused = fuse(trainer.model, settings.fused_kernels, dtype, is_spread(arguments))
    if torch.cuda.is_available() or settings.has_masters or settings.fused_kernels not in ("auto", "off"):
        say(f"{settings.stage}: {weights_told(settings, trainer.model)}; fused kernels: {fused.told}")


def share(settings: StageSettings, trainer: Any) -> Sharing:
    """Lay shared prefixes over a trainer's model, unless the run file says no, and bound its passes if it says so."""
    off = None if settings.share_prefixes else "tuning.share_prefixes is false"
    draws = hasattr(trainer, "reward_funcs")
    if off is None and not draws and trainer.padding_free:
        off = "rows are packed already, and keep the attention that knows where each begins"
    is_whole = not is_spread(trainer.args)
    sharing = Sharing(off) if off else share_prefixes(trainer.model, is_whole, settings.attention)
    if draws and isinstance(trainer.rollout_func, Rollouts):
        trainer.rollout_func.shares = sharing.off_because is None
    if settings.tokens_per_batch:
        sharing.passes = bound_passes(trainer, settings.tokens_per_batch, lambda: sharing.off_because is None)
    if not draws:
        # What is drawn is known when it is drawn, and laid out in the forward pass.
        lay_out_batches(trainer, lambda: sharing.off_because is None, settings.tokens_per_batch)
    return sharing


def group(settings: StageSettings, trainer: Any, rows: FittedRows) -> None:
    """Let a trainer draw rows that share much together, if the run file says so; questions are drawn in balance."""
    if settings.group_by and not hasattr(trainer, "reward_funcs"):
        group_batches(trainer, rows.groups)


def to_dataset(texts: Sequence[dict[str, Any]]) -> datasets.Dataset:
    """Rows as TRL's trainers take them."""
    # All rows have the same keys, so Arrow merges none. They are tokenized in a second; calltune's own bar follows.
    datasets.disable_progress_bars()
    return datasets.Dataset.from_list(list(texts))
