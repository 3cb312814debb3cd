"""TRL's trainers over the same rows, plain and with what calltune lays over them, asked for single training steps."""

import logging
import warnings

import datasets
import torch
import transformers
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from calltune.models.load import load_model
from calltune.training.labelled_head import score_labels_only
from calltune.training.sharing import share_prefixes
from material.measures import cpu_seconds, peak_mib

TRAINERS = {"sft": (SFTTrainer, SFTConfig), "dpo": (DPOTrainer, DPOConfig)}


def be_quiet():
    """One thread, and no word but the benchmark's."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.simplefilter("ignore")


def make_trainer(stage, folder, chat, texts, **options):
    """A TRL trainer in float32 on the CPU; what `options` leaves out is TRL's default."""
    trainer, config = TRAINERS[stage]
    given = {key: options.pop(key) for key in ("ref_model",) if key in options}
    model = load_model(str(folder), torch.float32)
    arguments = config(
        output_dir=str(folder / "unused"),
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        max_length=None,
        **options,
    )
    made = trainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(texts),
        processing_class=chat.tokenizer,
        **given,
    )
    made.model.train()
    return made


def batches_of(trainer):
    """Every batch of the first epoch, as the trainer would draw them."""
    return list(trainer.get_train_dataloader())


def step(trainer, batch):
    """The loss of one forward and backward pass, without an optimiser's step."""
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1
    if trainer.args.gradient_checkpointing:
        trainer.model.gradient_checkpointing_enable(trainer.args.gradient_checkpointing_kwargs)
    return float(trainer.training_step(trainer.model, dict(batch)))


def gradient(trainer):
    """All gradients of the last step as one vector."""
    return torch.cat([weight.grad.flatten() for weight in trainer.model.parameters() if weight.grad is not None])


def relative_difference(found, expected):
    return float((found - expected).norm() / expected.norm())


def share(trainer):
    """Lay over a trainer's model what calltune lays over it."""
    score_labels_only(trainer.model)
    sharing = share_prefixes(trainer.model)
    assert sharing.off_because is None, sharing.off_because
    return sharing


def compare(sides, batches):
    """By side, CPU seconds of all batches and the largest step's growth in MiB; gradients must be the first side's.

    Returns both, and the largest relative difference of a gradient. The sides take turns, since on a
    busy machine a second of CPU time is not always worth the same.
    """
    seconds, growths, differences = dict.fromkeys(sides, 0.0), dict.fromkeys(sides, 0), [0.0]
    for batch in batches:
        expected = None
        for name, trainer in sides.items():
            known = trainer.args.gradient_checkpointing  # a stock trainer computes the reference by itself
            fed = {key: value for key, value in batch.items() if not (known and key.startswith("ref_"))}
            spent = []
            grown = peak_mib(
                lambda trainer=trainer, fed=fed, to=spent: to.append(cpu_seconds(lambda: step(trainer, fed))[1])
            )
            seconds[name] += spent[0]
            growths[name] = max(growths[name], grown or 0)
            if expected is None:
                expected = gradient(trainer)
            else:
                differences.append(relative_difference(gradient(trainer), expected))
            trainer.model.zero_grad()
    difference = max(differences)
    assert difference < 1e-4, f"gradients differ from TRL's by {difference:.1e}, relative"
    return seconds, growths, difference


def rounded(seconds):
    return {name: round(spent, 2) for name, spent in seconds.items()}
