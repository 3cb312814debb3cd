"""Adapters on the disk: beside their base again, or merged into it, and refused where they are not one of it."""

import warnings
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from transformers import PreTrainedModel

from calltune.errors import ModelError
from calltune.models.folder import check_loaded, read_shapes, refuse_pointers
from calltune.models.load import load_model, one_line_for


def load_adapter(base: str, adapter: Path) -> PeftModel:
    """The base model's own weights, in float32 and never quantised, with an adapter folder beside them.

    Raises:
        ModelError: the base cannot be loaded, or the adapter is not one of it: pickled, damaged, or with keys missing,
            unexpected, or of another shape.
    """
    refuse_pointers(str(adapter), adapter)
    file = adapter / "adapter_model.safetensors"
    if not file.is_file():
        raise ModelError(f"adapter '{adapter}': holds no {file.name}")
    stored = read_shapes(str(adapter), file).keys()
    model = load_model(base, torch.float32)
    with warnings.catch_warnings(), one_line_for(str(adapter), "adapter"):
        # PEFT 0.21 asks transformers 5.23 by an old name.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        # They are told below, as an error.
        warnings.filterwarnings("ignore", message="Found missing adapter keys.*")
        adapted = PeftModel.from_pretrained(model, str(adapter))
        expected = get_peft_model_state_dict(adapted, save_embedding_layers=False).keys()
    unexpected = stored - expected - adapted.state_dict().keys()
    found = {"missing_keys": expected - stored, "unexpected_keys": unexpected, "mismatched_keys": (), "error_msgs": ()}
    check_loaded(str(adapter), found)
    return adapted  # type: ignore[return-value]


def merge_adapter(base: str, adapter: Path) -> PreTrainedModel:
    """The base model's own weights, in float32 and never quantised, with an adapter folder added to them.

    Raises:
        ModelError: as `load_adapter`.
    """
    return load_adapter(base, adapter).merge_and_unload()  # type: ignore[operator]
