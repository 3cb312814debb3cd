"""A stage's model, made whole from its last checkpoint: what is measured, trained on and shipped afterwards."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from calltune.calling.chat import Chat
from calltune.models.load import load_model, stored_dtype
from calltune.training.adapter import merge_adapter
from calltune.training.finite import require_finite_weights
from calltune.training.masters import stored_masters


def save_model(checkpoint: Path, base: str, folder: Path, chat: Chat) -> None:
    """Make the stage's model from its last checkpoint: whole, in the precision of the one it began as.

    Adapters are merged, and kept beside it. They are merged in float32 and rounded once, and evaluation reads the
    result from disk: what is measured is shipped. Where the optimiser kept float32 masters, the model is made of these,
    and of the base's own weights where none were trained; so it is rounded once here, too.

    Raises:
        NotFiniteError: a weight is no number, also when only the precision of the base cannot hold it.
    """
    # One process loads it, whole, also where training had spread it.
    unset_hf_deepspeed_config()
    if (checkpoint / "adapter_config.json").exists():
        (folder / "adapter").mkdir(exist_ok=True)
        for file in checkpoint.glob("adapter_*"):
            shutil.copy(file, folder / "adapter")
        model: Any = merge_adapter(base, folder / "adapter")
    elif masters := stored_masters(checkpoint):
        model = load_model(base, torch.float32)
        with torch.no_grad():
            for name, master in masters.items():
                model.get_parameter(name).copy_(master)
    else:
        model = load_model(str(checkpoint), torch.float32)
    model.to(stored := stored_dtype(base) or torch.float32)
    require_finite_weights(model, f"{folder.name}: the trained model, as {str(stored).removeprefix('torch.')}")
    model.save_pretrained(str(folder))
    chat.tokenizer.save_pretrained(folder)
