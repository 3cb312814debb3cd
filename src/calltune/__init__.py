"""calltune teaches a small language model when and how to call tools, and proves that it learned."""

from importlib import metadata

try:
    __version__ = metadata.version("calltune")
except metadata.PackageNotFoundError:
    # Source that nobody installed, as a job on a rented machine has it; pyproject.toml says the same for no git.
    __version__ = "0.1.0"
