"""What `sft`, `dpo` and `grpo` share: the course of a stage, resume, and the saved model."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerState

from calltune.config.run_file import Config
from calltune.files import manifest
from calltune.files.disk import writing_to
from calltune.files.guard_file import GUARD
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.json_lines import write_json
from calltune.files.tracking import track
from calltune.models.device import give_memory_back
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.training.arguments import not_default
from calltune.training.checkpoints import newest_whole
from calltune.training.counts import KeepCounts, bound_as_begun
from calltune.training.finite import row_names
from calltune.training.guarding import make_guard
from calltune.training.masters import require_same_precision
from calltune.training.ready import get_ready
from calltune.training.recipe import Recipe
from calltune.training.reference import store_reference
from calltune.training.rollouts import KeepRollouts
from calltune.training.saving import save_model
from calltune.training.settings import StageSettings, stage_settings
from calltune.training.steps import mean_loss, train
from calltune.training.trainer import group, make_trainer, share
from calltune.training.tuning import (
    count_parameters,
    tuning_inputs,
    write_plan,
)


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
    run_folder, begun = config.run_folder, time.perf_counter()
    # What is wrong in the run file is told here, before anything is loaded.
    asked = stage_settings(config, recipe.stage)
    ready = get_ready(asked, recipe, run_folder, model)
    with track(config, stage, inputs) as tracker, writing_to(folder):
        if moved := ours.first(lambda: manifest.begin(folder, inputs)):
            say(moved)
        # It may be of one that was stopped, and nobody may ask today.
        ours.first(lambda: (folder / GUARD).unlink(missing_ok=True))
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
        if recipe.rewards:
            trainer.add_callback(KeepRollouts(trainer, begun_from))
        shares = sharing.off_because is None
        guard = make_guard(ready, trainer, folder, tracker, begun_from, shares=shares, begun=begun)
        state, seconds = train(trainer, stage, begun_from, tracker, names, guard=guard)
        counted = counts.seconds + seconds
        kept = guard.checkpoint(folder / "checkpoints") if guard else None
        ours.first(lambda: save_model(kept or _best_or_last(trainer.args, state), model, folder, ready.chat))
        facts = {
            "steps": state.global_step,
            "resumed_from": begun_from.name if begun_from else None,
            "train_loss": mean_loss(state.log_history),
            "train_seconds": round(seconds, 1),
            "counted_from_step": counts.from_step,
            **sharing.facts(counted, trainer.accelerator.device),
            **({"guard": guard.facts(kept)} if guard else {}),
        }
        say(f"{stage}: {sharing.sentence(counted, trainer.accelerator.device)}")
        if sharing.passes and (asked.tokens_per_batch or sharing.passes.num_parted):
            say(f"{stage}: {sharing.passes.sentence()}")
        if guard:
            say(f"{stage}: {guard.sentence(counted, kept)}")
        if ours.rank == 0:
            write_json(folder / "history.json", {"log": state.log_history})
            if guard:
                write_json(folder / GUARD, guard.found())
            manifest.finish(folder, inputs, counts=ready.rows.counts(), too_long=ready.rows.too_long, **tuned, **facts)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _inputs(config: Config, recipe: Recipe, model: str, data: Path) -> dict[str, Any]:
    """What a stage is made of; when none of it changed, a complete stage is skipped and an interrupted one goes on."""
    manifest.read_manifest(data)
    more = {name: config.run_folder / name for name in recipe.more_files}
    for file in (config.run_folder / recipe.train_file, config.run_folder / recipe.validation_file, *more.values()):
        manifest.require_sealed(file.parent, file.name)
    stage = recipe.stage
    tuning = tuning_inputs(config.tuning.of(stage), config.lora)
    return {
        "model": manifest.model_sha256(model),
        "train rows": file_sha256(config.run_folder / recipe.train_file),
        "validation rows": file_sha256(config.run_folder / recipe.validation_file),
        **{name: file_sha256(file) for name, file in more.items()},
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
    # Of what only watches, and changes no weight, a complete stage hears nothing.
    guard = [f"guard {config.guard.model_dump_json()}"] * config.guard.keeps_best
    return [precision] * (precision != "auto") + [f"thinking {thinking}"] * (thinking != "off") + guard


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


def _best_or_last(arguments: Any, state: TrainerState) -> Path:
    if arguments.load_best_model_at_end and state.best_model_checkpoint:
        return Path(state.best_model_checkpoint)
    return Path(arguments.output_dir) / f"checkpoint-{state.global_step}"
