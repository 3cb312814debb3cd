"""What `sft` and `dpo` share: rows that fit, the model to train, progress, resume, and the saved model."""

import logging
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import PeftModel
from transformers import AutoConfig, TrainerState
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.trainer_callback import PrinterCallback

from calltune.arguments import lora_config, trl_arguments
from calltune.chat import Chat
from calltune.checkpoints import SealCheckpoints, newest_whole
from calltune.config import Config, Stage
from calltune.errors import ConfigError, DataError
from calltune.labelled_head import score_labels_only
from calltune.manifest import (
    begin,
    claim_run_folder,
    file_sha256,
    finish,
    is_complete,
    model_sha256,
    read_json,
    value_sha256,
)
from calltune.models import load_model, load_tokenizer
from calltune.processes import processes
from calltune.progress import Progress, StopWhenAsked
from calltune.rows import write_json, writing_to
from calltune.sharding import allow_sharding_on_cpu
from calltune.stopping import postponed_stop
from calltune.terminal import say
from calltune.tracking import Tracker, track


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one stage trains on and with.

    `row_text` writes a row as the strings that TRL's trainer wants: `prompt`, and `completion` or `chosen` and
    `rejected`.
    """

    stage: Stage
    trainer: type
    train_file: str
    validation_file: str
    read: Callable[[Path], list[Any]]
    row_text: Callable[[Chat, Any], dict[str, str]]


def train_stage(config: Config, recipe: Recipe, model: str) -> Path:
    """Train `model` by a recipe and save it, whole, in the stage's folder.

    Returns:
        The stage's folder. It is left as it is when complete and unchanged, and resumed when interrupted.

    Raises:
        CalltuneError: the data, the model, the folder, or a table of the run file is wrong.
    """
    stage, ours = recipe.stage, processes()
    run_folder = ours.first(lambda: claim_run_folder(config))
    data, folder = run_folder / "data", run_folder / stage
    inputs = ours.first(lambda: _inputs(config, recipe, model, data))
    if ours.first(lambda: is_complete(folder, inputs)):
        say(f"{stage}: complete and unchanged, skipped")
        return folder
    # Wrong keys are told before anything is loaded.
    lora_config(config)
    trl_arguments(stage, config, folder)
    chat = Chat(load_tokenizer(model), model)
    rows = fit_rows(chat, recipe, data / recipe.train_file, getattr(config, stage).get("max_length"))
    if not rows.texts:
        raise ConfigError(f"{stage}: {data / recipe.train_file} holds no rows; leave '{stage}' out of 'stages'")
    watched = fit_rows(chat, recipe, data / recipe.validation_file, rows.max_length)
    with track(config, stage, inputs) as tracker, writing_to(folder):
        if moved := ours.first(lambda: begin(folder, inputs)):
            say(moved)
        begun_from = ours.first(lambda: newest_whole(folder / "checkpoints", stage))
        trainer = _trainer(config, recipe, model, chat, rows, watched)
        share = trainable_share(trainer.model)
        say(f"{stage}: {share:.1%} of the weights are trained ({config.tuning.method})")
        tracker.parameters({"model": model, "trainable_share": share, **_hashes(data), **trainer.args.to_dict()})
        state, seconds = train(trainer, stage, begun_from, tracker)
        ours.first(lambda: save_model(_best_or_last(trainer.args, state), model, folder, chat))
        facts = {
            "steps": state.global_step,
            "resumed_from": begun_from.name if begun_from else None,
            "train_loss": _mean_loss(state.log_history),
            "train_seconds": round(seconds, 1),
            "trainable_share": share,
        }
        if ours.rank == 0:
            write_json(folder / "history.json", {"log": state.log_history})
            finish(folder, inputs, counts=rows.counts(), too_long=rows.too_long, **facts)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    # Nobody goes on to the next stage before this one is there.
    ours.wait()
    return folder


def _inputs(config: Config, recipe: Recipe, model: str, data: Path) -> dict[str, Any]:
    """What a stage is made of; when none of it changed, a complete stage is skipped and an interrupted one goes on."""
    read_json(data / "manifest.json")
    settings = [config.seed, config.tuning.model_dump(), config.lora, getattr(config, recipe.stage)]
    return {
        "model": model_sha256(model),
        "train rows": file_sha256(data / recipe.train_file),
        "validation rows": file_sha256(data / recipe.validation_file),
        "settings": value_sha256(settings),
        # Batch sizes are per process, and a checkpoint belongs to its strategy.
        "processes": processes().count,
        "strategy": config.launch.strategy,
    }


def _hashes(data: Path) -> dict[str, str]:
    return {f"sha256 {name}": sha256 for name, sha256 in read_json(data / "manifest.json")["sha256"].items()}


def _trainer(config: Config, recipe: Recipe, model: str, chat: Chat, rows: "FittedRows", watched: "FittedRows") -> Any:
    """TRL's trainer over the rows, with what calltune lays over its models."""
    stage, folder = recipe.stage, config.run_folder / recipe.stage
    # First of all: they tell transformers of a sharded launch before a model is loaded.
    arguments = trl_arguments(
        stage, config, folder, max_length=rows.max_length, eval_strategy="epoch" if watched.texts else "no"
    )
    allow_sharding_on_cpu()
    trainer = recipe.trainer(
        args=arguments,
        # In float32: with bf16 autocast on a GPU, small updates are not rounded away.
        model=load_model(model, torch.float32),
        train_dataset=_to_dataset(rows.texts),
        eval_dataset=_to_dataset(watched.texts) if watched.texts else None,
        processing_class=chat.tokenizer,
        peft_config=lora_config(config),
    )
    for each in (trainer.model, getattr(trainer, "ref_model", None)):
        if each is not None:
            # DeepSpeed puts its engine around a reference.
            score_labels_only(getattr(each, "module", each))
    return trainer


@dataclass(frozen=True, slots=True)
class FittedRows:
    """Rows as text, none longer than `max_length` tokens; the ids of those that were; the tokens trained on."""

    texts: list[dict[str, str]]
    max_length: int
    too_long: list[str]
    num_tokens: int
    num_answer_tokens: int

    def counts(self) -> dict[str, int]:
        """For the manifest: rows, tokens, and rows left out."""
        return {
            "rows": len(self.texts),
            "rows_too_long": len(self.too_long),
            "tokens": self.num_tokens,
            "answer_tokens": self.num_answer_tokens,
        }


def fit_rows(chat: Chat, recipe: Recipe, file: Path, max_length: int | None) -> FittedRows:
    """Write every row as text, measure it, and leave out, whole, those that do not fit.

    A cut answer would teach a broken call, so nothing is ever cut: a row is trained on whole or left out and counted.

    Args:
        max_length: in tokens of prompt and longest answer; None takes the longest row's.

    Raises:
        DataError: no row fits.
    """
    rows = recipe.read(file)
    texts = [recipe.row_text(chat, row) for row in rows]
    lengths = [_lengths(chat, text) for text in texts]
    longest = [max(answers) for _, answers in lengths]
    limit = max_length or max(longest, default=0)
    fits = [number for number, length in enumerate(longest) if length <= limit]
    if rows and not fits:
        raise DataError(f"{file}: no row fits into max_length = {limit}; the shortest has {min(longest)} tokens")
    too_long = [row.id for row, length in zip(rows, longest, strict=True) if length > limit]
    tokens = sum(sum(lengths[number][1]) for number in fits)
    prompts = sum(lengths[number][0] * len(lengths[number][1]) for number in fits)
    if rows:
        say(
            f"{recipe.stage}: {file.name}: {len(fits):,} of {len(rows):,} rows fit into max_length = {limit:,} tokens, "
            f"{len(too_long):,} left out; {tokens - prompts:,} answer tokens of {tokens:,} are trained on"
        )
    return FittedRows([texts[number] for number in fits], limit, too_long, tokens, tokens - prompts)


def _lengths(chat: Chat, text: Mapping[str, str]) -> tuple[int, list[int]]:
    """Tokens of the prompt, and of the prompt with each answer."""
    prompt = text["prompt"]
    wholes = [prompt + answer for key, answer in text.items() if key != "prompt"]
    sizes = [len(ids) for ids in chat.tokenizer([prompt, *wholes]).input_ids]
    return sizes[0], sizes[1:]


def _to_dataset(texts: Sequence[dict[str, str]]) -> datasets.Dataset:
    # Strings alone, so Arrow has no nested keys to merge. Rows are tokenized in a second; calltune's own bar follows.
    datasets.disable_progress_bars()
    return datasets.Dataset.from_list(list(texts))


def train(trainer: Any, stage: str, checkpoint: Path | None, tracker: Tracker) -> tuple[TrainerState, float]:
    """Run a TRL trainer to its last step, from a checkpoint or from the start, leaving the last step's checkpoint.

    Returns:
        The trainer's state after the last step, and the seconds it took now.

    Raises:
        Stopped, KeyboardInterrupt: a signal came; training goes on from the checkpoint that was written then.
    """
    if checkpoint:
        say(f"{stage}: resuming from {checkpoint.name}")
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step >= state.max_steps:
            # Killed while the model was saved. The trainer would do one step too many.
            return state, 0.0
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress(stage, tracker))
    # Older ones are removed when a newer one is sealed, not, as transformers does it, before.
    num_kept, trainer.args.save_total_limit = trainer.args.save_total_limit, None
    with warnings.catch_warnings(), postponed_stop() as request:
        # TRL 1.16 asks transformers 5.23 by an old name, once a step; the user can do nothing about it.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        # Tied weights are stored once, and transformers warns of the other name.
        logging.getLogger("transformers.trainer").addFilter(lambda record: "missing keys" not in record.msg)
        trainer.add_callback(StopWhenAsked(request))
        trainer.add_callback(SealCheckpoints(num_kept))
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    request.raise_if_asked()
    return trainer.state, outcome.metrics["train_runtime"]


def _best_or_last(arguments: Any, state: TrainerState) -> Path:
    if arguments.load_best_model_at_end and state.best_model_checkpoint:
        return Path(state.best_model_checkpoint)
    return Path(arguments.output_dir) / f"checkpoint-{state.global_step}"


def _mean_loss(history: Sequence[Mapping[str, Any]]) -> float:
    """The mean loss of all steps, from its means between two logs, whichever process did them."""
    total, before = 0.0, 0
    for entry in history:
        if "loss" in entry:
            total += entry["loss"] * (entry["step"] - before)
            before = entry["step"]
    return total / before


def save_model(checkpoint: Path, base: str, folder: Path, chat: Chat) -> None:
    """Make the stage's model from its last checkpoint: whole, in the precision of the one it began as.

    Adapters are merged, and kept beside it. They are merged in float32 and rounded once, and evaluation reads the
    result from disk: what is measured is shipped.
    """
    # One process loads it, whole, also where training had spread it.
    unset_hf_deepspeed_config()
    if (checkpoint / "adapter_config.json").exists():
        adapted = PeftModel.from_pretrained(load_model(base, torch.float32), str(checkpoint))
        adapted.save_pretrained(str(folder / "adapter"))
        model: Any = adapted.merge_and_unload()
    else:
        model = load_model(str(checkpoint), torch.float32)
    stored = AutoConfig.from_pretrained(base).dtype
    model.to(stored if isinstance(stored, torch.dtype) else torch.float32).save_pretrained(str(folder))
    chat.tokenizer.save_pretrained(folder)


def trainable_share(model: Any) -> float:
    """Trainable parameters over all parameters, in [0, 1]."""
    # ZeRO-3 has spread them already, and keeps their size beside them.
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trained in sizes if trained) / sum(size for size, _ in sizes)
