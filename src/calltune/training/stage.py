"""What `sft` and `dpo` share: rows that fit, the model to train, progress, resume, and the saved model."""

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import TrainerState

from calltune.calling.chat import Chat
from calltune.config.run_file import Config
from calltune.errors import ConfigError
from calltune.files import manifest
from calltune.files.disk import writing_to
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.json_lines import write_json
from calltune.files.tracking import track
from calltune.models.device import give_memory_back
from calltune.models.load import check_tokens, load_tokenizer
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.training.arguments import TrlArguments, allow_sharding_on_cpu, is_spread, not_default
from calltune.training.batch_tokens import batch_tokens
from calltune.training.checkpoints import newest_whole
from calltune.training.collating import lay_out_batches
from calltune.training.counts import KeepCounts, bound_as_begun
from calltune.training.finite import row_names
from calltune.training.fused import fuse
from calltune.training.grouping import group_batches
from calltune.training.labelled_head import score_labels_only
from calltune.training.masters import Masters, require_same_precision
from calltune.training.memory import Memory, choose_memory
from calltune.training.passes import bound_passes, check_passes
from calltune.training.recipe import FittedRows, Recipe, fit_rows, trainer_rows
from calltune.training.reference import stand_in, store_reference
from calltune.training.saving import save_model
from calltune.training.settings import StageSettings, stage_settings
from calltune.training.sharing import Sharing, share_prefixes
from calltune.training.steps import mean_loss, train
from calltune.training.tuning import (
    TuningPlan,
    count_parameters,
    load_to_train,
    plan_tuning,
    tuning_inputs,
    weights_told,
    write_plan,
)


@dataclass(frozen=True, slots=True)
class Ready:
    """All that a stage needs before its model is loaded.

    `settings` are the run file's, with the bound of a pass that the memory asks for; `watched` are the validation rows;
    `arguments` are TRL's, complete.
    """

    settings: StageSettings
    recipe: Recipe
    model: str
    chat: Chat
    rows: FittedRows
    watched: FittedRows
    plan: TuningPlan
    memory: Memory
    arguments: TrlArguments


def get_ready(settings: StageSettings, recipe: Recipe, run_folder: Path, model: str) -> Ready:
    """Read a stage's rows and decide what is trained of the model, in which memory; loads no weights.

    Raises:
        CalltuneError: the data or the model is wrong, or the run file asks of the model what it does not have.
    """
    stage, file = settings.stage, run_folder / recipe.train_file
    chat = Chat(load_tokenizer(model, settings.chat_template), model)
    rows = fit_rows(chat, recipe, file, settings.max_length, settings.group_by, settings.thinking)
    if not rows.texts:
        raise ConfigError(f"{stage}: {file} holds no rows; leave '{stage}' out of 'stages'")
    watched = fit_rows(chat, recipe, run_folder / recipe.validation_file, rows.max_length, thinking=settings.thinking)
    plan = plan_tuning(settings, model)
    check_tokens(plan.skeleton, chat, [chat.tokenizer.pad_token_id, rows.highest_token, watched.highest_token])
    check_passes(settings.tokens_per_batch, settings.arguments, plan.skeleton.config)
    # The processes of a machine do not find the same memory free at the same moment.
    choice = processes().first(
        lambda: choose_memory(settings, plan.skeleton, batch_tokens(settings, plan.skeleton, chat, rows))
    )
    settings = replace(settings, tokens_per_batch=choice.tokens_per_batch)
    # They also tell transformers of a sharded launch, which it must know before a model is loaded.
    arguments = settings.arguments_with(
        choice.checkpointing,
        output_dir=str(run_folder / recipe.name / "checkpoints"),
        max_length=rows.max_length,
        eval_strategy="epoch" if watched.texts else "no",
    )
    return Ready(settings, recipe, model, chat, rows, watched, plan, choice.memory, arguments)


def train_stage(config: Config, recipe: Recipe, model: str) -> Path:
    """Train `model` by a recipe and save it, whole, in the stage's folder.

    Returns:
        The stage's folder. It is left as it is when complete and unchanged, and resumed when interrupted.

    Raises:
        CalltuneError: the data, the model, the folder, or a table of the run file is wrong.
    """
    stage, ours = recipe.name, processes()
    run_folder = ours.first(lambda: manifest.claim_run_folder(config))
    data, folder = run_folder / "data", run_folder / stage
    inputs = ours.first(lambda: _inputs(config, recipe, model, data))
    if ours.first(lambda: manifest.is_complete(folder, inputs)):
        say(f"{stage}: complete and unchanged, skipped")
        return folder
    _train_and_save(config, recipe, model, folder, inputs)
    # The next stage of this process needs all of it.
    give_memory_back()
    # Nobody goes on to the next stage before this one is there.
    ours.wait()
    return folder


def _train_and_save(config: Config, recipe: Recipe, model: str, folder: Path, inputs: dict[str, Any]) -> None:
    """Do what `train_stage` says; the trainer and its model are out of reach when it returns."""
    stage, ours = recipe.name, processes()
    run_folder = config.run_folder
    # What is wrong in the run file is told here, before anything is loaded.
    asked = stage_settings(config, recipe.stage)
    ready = get_ready(asked, recipe, run_folder, model)
    with track(config, stage, inputs) as tracker, writing_to(folder):
        if moved := ours.first(lambda: manifest.begin(folder, inputs)):
            say(moved)
        write_plan(ready.plan, folder)
        begun_from = ours.first(lambda: newest_whole(folder / "checkpoints", stage))
        require_same_precision(begun_from, asked.has_masters, stage)
        if not asked.tokens_per_batch:
            bound = bound_as_begun(stage, begun_from, ready.settings.tokens_per_batch)
            ready = replace(ready, settings=replace(ready.settings, tokens_per_batch=bound))
        settings = ready.settings
        trainer = make_trainer(ready)
        sharing = share(settings, trainer)
        names = row_names(ready.chat, ready.rows, ready.watched)
        # A Hub id says nothing of what is in memory.
        weights = inputs["model"] if Path(model).is_dir() else None
        store_reference(trainer, run_folder / "reference", sharing, names, weights)
        group(settings, trainer, ready.rows)
        tuned = _tuned(settings, trainer.model)
        say(
            f"{stage}: {tuned['tuning']}: {tuned['parameters_trained']:,} of {tuned['parameters']:,} parameters "
            f"are trained, {tuned['trainable_share']:.2%}"
        )
        tracker.parameters({"model": model, **tuned, **_hashes(run_folder / "data"), **not_default(trainer.args)})
        tracker.dataset(str(run_folder / recipe.train_file), inputs["train rows"], "training")
        if ready.watched.texts:
            tracker.dataset(str(run_folder / recipe.validation_file), inputs["validation rows"], "validation")
        counts = KeepCounts(sharing, begun_from, settings.tokens_per_batch)
        trainer.add_callback(counts)
        state, seconds = train(trainer, stage, begun_from, tracker, names)
        counted = counts.seconds + seconds
        ours.first(lambda: save_model(_best_or_last(trainer.args, state), model, folder, ready.chat))
        facts = {
            "steps": state.global_step,
            "resumed_from": begun_from.name if begun_from else None,
            "train_loss": mean_loss(state.log_history),
            "train_seconds": round(seconds, 1),
            "counted_from_step": counts.from_step,
            **sharing.facts(counted, trainer.accelerator.device),
        }
        say(f"{stage}: {sharing.sentence(counted, trainer.accelerator.device)}")
        if sharing.passes and (asked.tokens_per_batch or sharing.passes.num_parted):
            say(f"{stage}: {sharing.passes.sentence()}")
        if ours.rank == 0:
            write_json(folder / "history.json", {"log": state.log_history})
            manifest.finish(folder, inputs, counts=ready.rows.counts(), too_long=ready.rows.too_long, **tuned, **facts)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _inputs(config: Config, recipe: Recipe, model: str, data: Path) -> dict[str, Any]:
    """What a stage is made of; when none of it changed, a complete stage is skipped and an interrupted one goes on."""
    manifest.read_manifest(data)
    for file in (config.run_folder / recipe.train_file, config.run_folder / recipe.validation_file):
        manifest.require_sealed(file.parent, file.name)
    stage = recipe.stage
    tuning = tuning_inputs(config.tuning.of(stage), config.lora)
    return {
        "model": manifest.model_sha256(model),
        "train rows": file_sha256(config.run_folder / recipe.train_file),
        "validation rows": file_sha256(config.run_folder / recipe.validation_file),
        "chat template": manifest.template_sha256(config),
        # A word that was not there before counts where it is said, so that what older versions made stays complete.
        "settings": value_sha256([config.seed, tuning, getattr(config, stage), *_later_words(config)]),
        "grouped by": config.data.group_by,
        # Batch sizes are per process, and a checkpoint belongs to its strategy.
        "processes": processes().count,
        "strategy": config.launch.strategy,
    }


def _later_words(config: Config) -> list[str]:
    precision, thinking = config.tuning.precision, config.chat.thinking
    return [precision] * (precision != "auto") + [f"thinking {thinking}"] * (thinking != "off")


def _tuned(settings: StageSettings, model: Any) -> dict[str, Any]:
    trained, everything = count_parameters(model)
    return {
        "tuning": settings.tuning.method,
        "precision": "bf16-masters" if settings.has_masters else "float32",
        "trainable_share": trained / everything,
        "parameters": everything,
        "parameters_trained": trained,
    }


def _hashes(data: Path) -> dict[str, str]:
    return {f"sha256 {name}": sha256 for name, sha256 in manifest.read_manifest(data)["sha256"].items()}


def make_trainer(ready: Ready, model: Any = None) -> Any:
    """TRL's trainer over the rows, with what calltune lays over its models.

    Args:
        model: instead of the one to be trained, such as one without weights, to count steps with.
    """
    # PEFT writes into its configuration what it finds in the model; the settings stay as they are.
    lora = None if model else copy.deepcopy(ready.settings.lora)
    allow_sharding_on_cpu()
    trainer = ready.recipe.trainer(
        args=ready.arguments,
        model=model or load_to_train(ready.settings, ready.plan, ready.model),
        train_dataset=to_dataset(trainer_rows(ready.chat, ready.rows.texts)),
        eval_dataset=to_dataset(trainer_rows(ready.chat, ready.watched.texts)) if ready.watched.texts else None,
        processing_class=ready.chat.tokenizer,
        peft_config=lora,
        **stand_in(ready.arguments, is_peft=lora is not None),
    )
    for each in (trainer.model, getattr(trainer, "ref_model", None)):
        if each is not None:
            # DeepSpeed puts its engine around a reference.
            score_labels_only(getattr(each, "module", each))
    if model is None:
        bounded, accumulated = ready.settings.tokens_per_batch, ready.arguments.gradient_accumulation_steps
        if ready.settings.has_masters:
            Masters(trainer, adds_up=bounded is not None or accumulated > 1)
        _fuse(ready, trainer)
    return trainer


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
    if off is None and trainer.padding_free:
        off = "rows are packed already, and keep the attention that knows where each begins"
    is_whole = not is_spread(trainer.args)
    sharing = Sharing(off) if off else share_prefixes(trainer.model, is_whole, settings.attention)
    if settings.tokens_per_batch:
        sharing.passes = bound_passes(trainer, settings.tokens_per_batch, lambda: sharing.off_because is None)
    lay_out_batches(trainer, lambda: sharing.off_because is None, settings.tokens_per_batch)
    return sharing


def group(settings: StageSettings, trainer: Any, rows: FittedRows) -> None:
    """Let a trainer draw rows that share much together, if the run file says so."""
    if settings.group_by:
        group_batches(trainer, rows.groups)


def to_dataset(texts: Sequence[dict[str, Any]]) -> datasets.Dataset:
    """Rows as TRL's trainers take them."""
    # All rows have the same keys, so Arrow merges none. They are tokenized in a second; calltune's own bar follows.
    datasets.disable_progress_bars()
    return datasets.Dataset.from_list(list(texts))


def _best_or_last(arguments: Any, state: TrainerState) -> Path:
    if arguments.load_best_model_at_end and state.best_model_checkpoint:
        return Path(state.best_model_checkpoint)
    return Path(arguments.output_dir) / f"checkpoint-{state.global_step}"
