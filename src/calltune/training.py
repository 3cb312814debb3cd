"""What `sft` and `dpo` share: rows that fit, the model to train, progress, resume, and the saved model."""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import PeftModel
from transformers import AutoConfig, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from calltune.arguments import lora_config, trl_arguments
from calltune.chat import Chat
from calltune.config import Config, Stage
from calltune.errors import ConfigError, DataError
from calltune.grouping import group_batches
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
from calltune.reference import stand_in, store_reference
from calltune.rows import to_json, write_json
from calltune.sharing import Sharing, share_prefixes
from calltune.terminal import ProgressBar, say
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
    stage, run_folder = recipe.stage, claim_run_folder(config)
    data, folder = run_folder / "data", run_folder / recipe.stage
    read_json(data / "manifest.json")
    inputs = {
        "model": model_sha256(model),
        "train rows": file_sha256(data / recipe.train_file),
        "validation rows": file_sha256(data / recipe.validation_file),
        "settings": value_sha256(
            [config.seed, config.tuning.model_dump(), config.lora, getattr(config, stage), config.data.group_by_tools]
        ),
    }
    if is_complete(folder, inputs):
        say(f"{stage}: complete and unchanged, skipped")
        return folder
    # Wrong keys are told before anything is loaded.
    peft = lora_config(config)
    trl_arguments(stage, config, folder)
    chat = Chat(load_tokenizer(model), model)
    rows = fit_rows(chat, recipe, data / recipe.train_file, getattr(config, stage).get("max_length"))
    if not rows.texts:
        raise ConfigError(f"{stage}: {data / recipe.train_file} holds no rows; leave '{stage}' out of 'stages'")
    watched = fit_rows(chat, recipe, data / recipe.validation_file, rows.max_length)
    arguments = trl_arguments(
        stage, config, folder, max_length=rows.max_length, eval_strategy="epoch" if watched.texts else "no"
    )
    if moved := begin(folder, inputs):
        say(moved)
    with track(config, stage) as tracker:
        trainer = recipe.trainer(
            # In float32: with bf16 autocast on a GPU, small updates are not rounded away.
            model=load_model(model, torch.float32),
            args=arguments,
            train_dataset=_to_dataset(rows.texts),
            eval_dataset=_to_dataset(watched.texts) if watched.texts else None,
            processing_class=chat.tokenizer,
            peft_config=peft,
            **stand_in(arguments, is_peft=peft is not None),
        )
        for each in (trainer.model, getattr(trainer, "ref_model", None)):
            if each is not None:
                score_labels_only(each)
        off = None if config.tuning.share_prefixes else "tuning.share_prefixes is false"
        sharing = Sharing(off) if off else share_prefixes(trainer.model)
        store_reference(trainer, run_folder / "reference", sharing)
        if config.data.group_by_tools:
            group_batches(trainer, rows.tools)
        share = trainable_share(trainer.model)
        say(f"{stage}: {share:.1%} of the weights are trained ({config.tuning.method})")
        tracker.parameters({"stage": stage, "model": model, "trainable_share": share, **getattr(config, stage)})
        facts = _train(trainer, stage, folder, tracker)
        facts |= sharing.facts(facts["train_seconds"], trainer.accelerator.device)
        say(f"{stage}: {sharing.sentence(facts['train_seconds'], trainer.accelerator.device)}")
        _save(trainer.model, chat, model, folder)
    finish(folder, inputs, counts=rows.counts(), too_long=rows.too_long, trainable_share=share, **facts)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return folder


@dataclass(frozen=True, slots=True)
class FittedRows:
    """Rows as text, none longer than `max_length` tokens; the ids of those that were; the tokens trained on.

    `tools[i]` are row i's tools, as JSON.
    """

    texts: list[dict[str, str]]
    max_length: int
    too_long: list[str]
    num_tokens: int
    num_answer_tokens: int
    tools: list[str]

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
    tools = ["".join(map(to_json, rows[number].tools)) for number in fits]
    return FittedRows([texts[number] for number in fits], limit, too_long, tokens, tokens - prompts, tools)


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


class _Progress(TrainerCallback):
    """Steps and loss to the terminal, every number to the tracker."""

    def __init__(self, stage: str, tracker: Tracker) -> None:
        self._stage, self._tracker, self._note = stage, tracker, ""

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar; a resumed run begins where it stopped."""
        self._bar = ProgressBar(self._stage, state.max_steps, state.global_step)
        self._bar.__enter__()

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """One optimiser step."""
        self._bar.advance(1, self._note)

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Keep the loss for the bar and hand every number on."""
        if logs and "loss" in logs:
            self._note = f"loss {float(logs['loss']):.3f}"
        self._tracker.metrics(logs or {}, step=state.global_step)

    def on_train_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self._bar.__exit__(None, None, None)


def _train(trainer: Any, stage: str, folder: Path, tracker: Tracker) -> dict[str, Any]:
    """Run a TRL trainer from its newest complete checkpoint, or from the start; what the manifest tells of it."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Progress(stage, tracker))
    checkpoint = newest_checkpoint(folder / "checkpoints")
    if checkpoint:
        say(f"{stage}: resuming from {checkpoint.name}")
    with warnings.catch_warnings():
        # TRL 1.16 asks transformers 5.23 by an old name, once a step; the user can do nothing about it.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    write_json(folder / "history.json", {"log": trainer.state.log_history})
    return {
        "steps": trainer.state.global_step,
        "resumed_from": checkpoint.name if checkpoint else None,
        "train_loss": outcome.metrics.get("train_loss"),
        "train_seconds": round(outcome.metrics.get("train_runtime", 0.0), 1),
    }


def newest_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that was written whole.

    transformers writes `trainer_state.json` last, so a checkpoint without a readable one was cut off.
    """

    def is_whole(path: Path) -> bool:
        try:
            return json.loads((path / "trainer_state.json").read_text())["global_step"] == int(path.name.split("-")[1])
        except (OSError, ValueError, KeyError):
            return False

    found = [path for path in folder.glob("checkpoint-*") if is_whole(path)]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def _save(model: Any, chat: Chat, base: str, folder: Path) -> None:
    """Save a whole model in the precision of the one it began as; adapters are merged, and kept beside it.

    They are merged in float32 and rounded once, and evaluation reads the result from disk: what is measured is shipped.
    """
    if isinstance(model, PeftModel):
        model.save_pretrained(str(folder / "adapter"))
        model = model.merge_and_unload()
    stored = AutoConfig.from_pretrained(base).dtype
    model.to(stored if isinstance(stored, torch.dtype) else torch.float32).save_pretrained(str(folder))
    chat.tokenizer.save_pretrained(folder)


def trainable_share(model: Any) -> float:
    """Trainable parameters over all parameters, in [0, 1]."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad) / sum(p.numel() for p in parameters)
