"""A model's folder as GGUF files: llama.cpp's own converter, and `llama-quantize` for the small formats.

Both are processes of their own. Nothing of them is left running when this process ends, and a failure of theirs is one
line.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from calltune.errors import ModelError, RunFolderError
from calltune.models import gguf_convert, gguf_rules
from calltune.models.gguf_packages import BY_CONVERTER, INSTALL, QUANTISER
from calltune.models.load import stored_dtype
from calltune.runtime.stopping import at_forced_end
from calltune.runtime.terminal import ProgressBar
from calltune.runtime.threads import available_cores

_SIZE = {"f16": 1.0, "q8_0": 0.54, "q4_k_m": 0.42}
"""Of a file, beside that of f16; with room for the tensors that q4_k_m must store in more bits."""

_MIB = 2**20


def require_space(folder: Path, formats: Sequence[str], place: Path) -> None:
    """Raise in one line when the disk has no room for the files.

    Args:
        folder: of the model that is converted.
        place: where the files are written, which may not be there yet.

    Raises:
        RunFolderError: how much is needed, and how much there is.
    """
    one = _f16_bytes(folder)
    needed = int(one * (1 + sum(_SIZE[each] for each in formats if each != "f16")))
    there = next(path for path in (place, *place.parents) if path.exists())
    if (free := shutil.disk_usage(there).free) < needed:
        raise RunFolderError(
            f"{place}: GGUF files need about {needed / 1e9:.2f} GB on the disk, and {free / 1e9:.2f} GB are free"
        )


def write_gguf(folder: Path, f16: Path, file: Path, kind: str) -> str:
    """Write one GGUF file; a sentence about it for the user, or an empty string.

    Args:
        folder: of the model.
        f16: its file in f16, which is there unless it is the one to be written.
        file: to be written.
        kind: `f16`, `q8_0` or `q4_k_m`.

    Raises:
        ModelError: llama.cpp knows no such architecture or tokenizer, or its program failed.
    """
    size = int(_f16_bytes(folder) * _SIZE[kind])
    if kind in BY_CONVERTER:
        return _convert(folder, file, kind, size)
    return _quantise(f16, file, kind, size)


def _convert(folder: Path, file: Path, kind: str, size: int) -> str:
    rule = gguf_rules.rule_of(folder)
    said = _run([sys.executable, "-m", gguf_convert.__name__, str(folder), str(file), kind, rule], file, size)
    unknown = any(gguf_convert.READ_OFF in line for line in said)
    return (
        f"llama.cpp's converter does not know its tokenizer; by its tokenizer.json it splits text as '{rule}'" * unknown
    )


def _quantise(f16: Path, file: Path, kind: str, size: int) -> str:
    # The package itself is not imported: that would load a second llama.cpp into this process.
    spec = find_spec(QUANTISER)
    program = Path(str(spec and spec.origin)).parent / "bin" / "llama-quantize"
    if not program.is_file():
        raise ModelError(f"export.gguf: the package 'ik-llama-cpp-python' came without llama-quantize: {INSTALL}")
    said = _run([str(program), str(f16), str(file), kind.upper(), str(available_cores())], file, size)
    # "WARNING: 180 of 181 tensor(s) required fallback quantization"
    words = next((line.split() for line in said if "required fallback quantization" in line), [])
    counts = [word for word in words if word.isdigit()]
    return f"{counts[0]} of {counts[1]} tensors do not fit its blocks, and have more bits" if len(counts) == 2 else ""


def _f16_bytes(folder: Path) -> int:
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    dtype = stored_dtype(str(folder))
    return size * 2 // (dtype.itemsize if dtype is not None else 4)


def _run(words: Sequence[str], file: Path, size: int) -> list[str]:
    """Run a program that writes a file, with a bar of what is written; the lines that it said."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile() as told, ProgressBar(f"gguf: {file.name} (MB)", max(size // _MIB, 1)) as bar:
        with ended_with_us(words, told, environment) as process:
            done = 0
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.25)
                now = file.stat().st_size // _MIB if file.exists() else 0
                bar.advance(now - done)
                done = now
        told.seek(0)
        said = told.read().decode(errors="replace").replace("\r", "\n").splitlines()
    if process.returncode or not file.exists():
        raise ModelError(f"export.gguf: {file.name}: {_reason(said)}")
    return said


@contextlib.contextmanager
def ended_with_us(
    words: Sequence[str], told: IO[bytes] | int, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended when the block is over, or when this process is ended where it is.

    It can see this process's end, too: its standard input is closed then.
    """
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=told, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    try:
        with at_forced_end(process.kill):
            yield process
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def _reason(said: Sequence[str]) -> str:
    """Why a program failed, of all that it said, in one line."""
    lines = [line.strip() for line in said if line.strip()]
    if any("BPE pre-tokenizer was not recognized" in line for line in lines):
        return "llama.cpp has no rule that splits text as this model's tokenizer does"
    unknown = next((line for line in lines if line.endswith("is not supported")), "")
    if unknown:
        return f"llama.cpp's converter knows no such model: {unknown.rpartition(':')[2].strip()}"
    return lines[-1][:300] if lines else "its program ended without a word"
