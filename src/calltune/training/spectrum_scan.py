"""The signal-to-noise ratio of every weight matrix of a model: read one by one, ranked in parallel, computed once.

Weights are streamed from safetensors, never the model as a whole; one thread works on a matrix, several matrices are
worked on at once, which gives the same numbers as one after the other. The result is kept in the user's cache folder
under the hash of the weights.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from calltune.errors import ModelError, NotFiniteError, RunFolderError
from calltune.files.hashes import file_sha256, value_sha256
from calltune.files.json_lines import write_json
from calltune.models.folder import one_line, refuse_pointers
from calltune.models.folder import weight_files as local_weight_files
from calltune.runtime.terminal import ProgressBar, say
from calltune.training.spectrum import kind_of, read_ratios, signal_to_noise

_FLOATS = {"F64", "F32", "F16", "BF16"}
_MOST_WORKERS = 8  # each holds a matrix in float64: half a gigabyte in a model of 8 billion parameters


def scan(model: str, workers: int | None = None) -> dict[str, float]:
    """Spectrum's ratio of every matrix in the layers of a model, by module name.

    Norms and other one-dimensional weights, embeddings and the head have no rank and are left out.

    Args:
        model: a Hub id or a local folder.
        workers: matrices worked on at once; None takes the processors that this process may use, eight at most.

    Raises:
        ModelError: there are no safetensors, or they hold quantised weights or experts in one tensor.
    """
    files = weight_files(model)
    kept = _cache_folder() / f"{value_sha256({file.name: file_sha256(file) for file in files})}.json"
    if ratios := read_ratios(kept):
        say(f"spectrum: {len(ratios)} signal-to-noise ratios of {model} read from {kept}")
        return ratios
    matrices = _matrices(model, files)
    start, threads = time.monotonic(), torch.get_num_threads()
    workers = workers or min(_MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
    torch.set_num_threads(1)
    try:
        with (
            ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
            ProgressBar("spectrum: matrices", len(matrices)) as bar,
        ):
            ranked = {pool.submit(_ratio, file, module): module for module, file in matrices.items()}
            for _ in as_completed(ranked):
                bar.advance()
    finally:
        torch.set_num_threads(threads)
    ratios = {module: future.result() for future, module in ranked.items()}
    try:
        write_json(kept, ratios)
        where = f"kept in {kept}"
    except (NotFiniteError, RunFolderError) as error:
        where = f"not kept: {error}"
    say(f"spectrum: {len(ratios)} matrices of {model} ranked in {time.monotonic() - start:.0f} s, {where}")
    return ratios


def weight_files(model: str) -> list[Path]:
    """The safetensors files of a Hub id or local folder, as `from_pretrained` finds them.

    Raises:
        ModelError: there are none, or the Hub does not give them.
    """
    folder = Path(model)
    if not folder.is_dir():
        try:
            folder = Path(
                snapshot_download(model, allow_patterns=["model*.safetensors", "model.safetensors.index.json"])
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"model '{model}': the Hugging Face Hub did not give its weights") from error
    refuse_pointers(model, folder)
    files = local_weight_files(model, folder)
    if not files:
        raise ModelError(f"model '{model}': Spectrum reads safetensors, and there is no model.safetensors")
    return files


def _matrices(model: str, files: Sequence[Path]) -> dict[str, Path]:
    """The file of each matrix, by module name, in the order of the layers."""
    found = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                shapes = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
                shapes = {name: (part.get_shape(), part.get_dtype()) for name, part in shapes.items()}
        except SafetensorError as error:
            raise ModelError(f"model '{model}': {file.name} is damaged or not whole: {one_line(error)}") from None
        for name, (shape, dtype) in shapes.items():
            module = name.removesuffix(".weight")
            if (kind := kind_of(module)) is None or len(shape) < 2:
                continue
            if len(shape) > 2 or ".experts." in name:
                raise ModelError(
                    f"model '{model}': Spectrum ranks one matrix a layer, and '{kind}' is not one (experts?)"
                )
            if name == module:
                continue
            if dtype not in _FLOATS:
                raise ModelError(f"model '{model}': Spectrum cannot rank '{kind}': its weights are quantised ({dtype})")
            found[module] = file
    if not found:
        raise ModelError(f"model '{model}': Spectrum finds no weight matrix in numbered layers")
    return {module: found[module] for module in sorted(found, key=_by_layer)}


def _by_layer(module: str) -> list[str]:
    return [part.zfill(6) if part.isdigit() else part for part in module.split(".")]


def _ratio(file: Path, module: str) -> float:
    # Opened for each matrix: what was read before is unmapped, so memory holds one matrix a worker.
    with safe_open(file, framework="pt") as tensors:
        return signal_to_noise(tensors.get_tensor(f"{module}.weight"))


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "calltune" / "spectrum"
