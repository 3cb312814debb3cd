"""A model that is the beginning of another one: what its weights are like, without the time of its depth."""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file


def with_first_layers(number: int, model: Path, place: Path) -> Path:
    """Copy a model's folder to `place` with its first layers alone, and return the copy."""
    shutil.copytree(model, place)
    config = json.loads((place / "config.json").read_text())
    config |= {"num_hidden_layers": number, "layer_types": config["layer_types"][:number]}
    (place / "config.json").write_text(json.dumps(config))
    weights = load_file(place / "model.safetensors")
    kept = [name for name in weights if not name.startswith("model.layers.") or int(name.split(".")[2]) < number]
    save_file({name: weights[name] for name in kept}, place / "model.safetensors", metadata={"format": "pt"})
    return place
