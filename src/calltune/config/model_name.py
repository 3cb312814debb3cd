"""What a model is called where people read it."""

import json
from pathlib import Path

GGUF_ORIGIN = "gguf.json"
"""The file, in the folder that a GGUF file was read into, that says which file that was."""


def model_name(model: str) -> str:
    """Return the name of the GGUF file that a model was read from; any other model is called as it is given."""
    try:
        return str(json.loads((Path(model) / GGUF_ORIGIN).read_text(encoding="utf-8"))["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return model
