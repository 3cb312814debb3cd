"""TRL's trainers, with nothing of calltune's: at their best, and as they come."""

import contextlib
import importlib.util
from typing import Any

import datasets
import torch
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from calltune.models.load import fastest_attention, load_tokenizer
from material.gpu_model import Machine
from material.gpu_record import Skip
from material.gpu_trainers import SAME, STEPS, give_back, give_rows, rows_of, stage_of, timed

PEERS = {"sft": (SFTTrainer, SFTConfig), "dpo": (DPOTrainer, DPOConfig)}
_LIKE = {
    "sft": {"prompt": "a", "completion": "b"},
    "dpo": {"prompt": "a", "chosen": "b", "rejected": "c"},
}


def trls(machine: Machine, kind: str, at_its_best: bool) -> dict[str, Any]:
    """Train by TRL alone, on the largest batch of at most eight rows that fits."""
    for size in (2,) if machine.is_dry else (8, 4, 2):
        with contextlib.suppress(torch.OutOfMemoryError):
            return _trls(machine, kind, size, at_its_best)
        give_back()
    raise Skip("not even two rows fit into the device's memory")


def _trls(machine: Machine, kind: str, size: int, at_its_best: bool) -> dict[str, Any]:
    stage, rows = stage_of(kind), rows_of(machine, kind, size * STEPS)
    trainer, told = make_peer(machine, stage, at_its_best, **SAME, per_device_train_batch_size=size)
    give_rows(trainer, rows, knows_reference=at_its_best)
    found = timed(machine, trainer, rows, size, cudnn=not at_its_best)
    del trainer
    give_back()
    # A DPO step with a reference model has another loss than one that is told zeros.
    same = {"batches": f"{kind} {size}"} if at_its_best or stage == "sft" else {}
    return {**found, **same, "note": told}


def make_peer(
    machine: Machine, stage: str, at_its_best: bool, texts: list[dict[str, str]] | None = None, **options: Any
) -> tuple[Any, str]:
    """TRL's trainer over a model with the bench's weights, and what is set, in words; nothing of calltune's.

    At its best: bf16 weights, FlashAttention and Liger's kernels where they are installed, with the former rows without
    padding (of SFT; TRL's DPO has no such thing), no checkpointing, the reference's numbers known beforehand, cuDNN's
    attention off. As it comes: float32 weights under autocast, checkpointing, a reference model, cuDNN where torch puts
    it.
    """
    dtype, told = (machine.dtype, ["no checkpointing"]) if at_its_best else (torch.float32, ["as it comes"])
    model, others = machine.make(dtype), dict[str, Any]()
    if at_its_best:
        options["gradient_checkpointing"] = False
        # As calltune's trainers have it.
        options["tf32"] = True if machine.is_cuda and torch.cuda.get_device_capability() >= (8, 0) else None
        if machine.is_cuda and importlib.util.find_spec("liger_kernel"):
            options["use_liger_kernel"] = True
            told.append("Liger")
        if (flash := fastest_attention(model, bf16=machine.is_cuda)).startswith("flash"):
            options["padding_free"] = stage == "sft"
            model.set_attn_implementation(flash)
            told.append(f"{flash}, {'padding-free' * (stage == 'sft')}".rstrip(", "))
    if stage == "dpo":
        # Without one, TRL would look for the model's name.
        others["ref_model"] = machine.make(dtype)
    kind, config = PEERS[stage]
    arguments = config(
        output_dir=str(machine.work / "unused"),
        report_to=[],
        disable_tqdm=True,
        max_length=None,
        bf16=machine.is_cuda,
        use_cpu=not machine.is_cuda,
        **options,
    )
    trainer = kind(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(texts or [_LIKE[stage]]),
        processing_class=load_tokenizer(str(machine.folder)),
        **others,
    )
    return trainer, ", ".join(told)
