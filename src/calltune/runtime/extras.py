"""What the light core leaves to the extra `train`, and the one line that says so where a verb needs more.

`pip install calltune` brings what `audit`, `init`, `list`, `report`, and the first part of `check` import. Whatever
loads a model or trains one takes torch and what stands on it.
"""

from importlib.util import find_spec

TRAIN = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "mlflow",
    "filelock",
    "safetensors",
    "huggingface_hub",
    "yaml",
    "psutil",
    "scipy",
)
"""The packages of the extra `train` by the names that they are imported by; a test compares them with its list."""

INSTALL_TRAIN = "pip install 'calltune[train]'"


def missing_package() -> str:
    """The first package of the extra `train` that is not installed; an empty string when all are there."""
    return next((name for name in TRAIN if find_spec(name) is None), "")


def line_for(verb: str, error: ModuleNotFoundError) -> str:
    """The one line for a verb that met a package of the extra `train` which is not installed.

    Returns:
        An empty string when the error is about any other module: that is a fault, and keeps its traceback.
    """
    package = (error.name or "").partition(".")[0]
    return f"{verb} needs {package}, which is not installed: {INSTALL_TRAIN}" if package in TRAIN else ""
