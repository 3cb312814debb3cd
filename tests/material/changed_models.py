"""Copies of a model's folder in which something is not as it should be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

NAN, INFINITY = float("nan"), float("inf")
DOWN = "model.layers.0.mlp.down_proj.weight"


def with_weights(model: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of which `change` has altered the tensors by name."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_number(model: Path, folder: Path, name: str = DOWN, number: float = NAN) -> Path:
    """A copy in which the first number of one tensor is another."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[name].view(-1)[0] = number

    return with_weights(model, folder, change)


def with_config(model: Path, folder: Path, **fields: Any) -> Path:
    """A copy with other fields in its `config.json`."""
    shutil.copytree(model, folder)
    table = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(table | fields))
    return folder
