"""What a model's folder holds, looked at before transformers reads it: whole files, sizes that agree, nothing to run.

transformers fills weights that are missing with random numbers, asks on the terminal whether code of a folder may run,
and takes sizes from `config.json` before it looks at the weights. So the headers of the weights, which take
milliseconds, are read first, and held against the configuration and against the model's own modules.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from calltune.errors import ModelError, special_file

Shape = tuple[int, ...]

_POINTER = b"version https://git-lfs"
_LARGEST_POINTER = 1024  # bytes; pointers have about 130
_DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
_MOST_MORE_LAYERS = 100
"""By which `config.json` may exceed the layers in the weights and still be tried; more takes hours to build."""

_MOST_TIMES = 2
"""How many times the numbers in the weights a model may have: tied weights are stored once."""

_NAMES_TOLD = 3


def check_folder(model: str) -> dict[str, Shape] | None:
    """The shape of every tensor in a local folder's safetensors, by name; None for a Hub id, or without weights.

    Raises:
        ModelError: a file is a git-lfs pointer, empty, cut off or missing; the weights are pickled, or an adapter's;
            `config.json` is no JSON object, or names far more layers than there are.
    """
    folder = Path(model)
    if not folder.is_dir():
        return None
    refuse_pointers(model, folder)
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"model '{model}': holds an adapter (adapter_config.json); merge it into its base first")
    table = _config_table(model, folder)
    files = weight_files(model, folder)
    shapes = {name: shape for file in files for name, shape in read_shapes(model, file).items()}
    if shapes:
        _check_depth(model, table, shapes)
    return shapes or None


def require_folder_or_hub_id(model: str) -> str:
    """Return the model's name if it is a folder's, or may be one of the Hub's.

    Raises:
        ModelError: it is a file, or names a folder that is not there.
    """
    path = Path(model)
    if path.is_file():
        raise ModelError(f"model '{model}': is a file, a folder was expected")
    if path.is_dir():
        refuse_special(model, path)
    if not path.is_dir() and (path.is_absolute() or model.startswith(".") or model.count("/") > 1):
        raise ModelError(f"model '{model}': no such folder")
    return model


def refuse_special(model: str, folder: Path) -> None:
    """Refuse a folder in which something is neither file nor folder: whoever opened it might wait for ever.

    Raises:
        ModelError: names it.
    """
    for path in sorted(folder.iterdir()):
        if kind := special_file(path):
            raise ModelError(f"model '{model}': {path.name} is {kind}, a file was expected")


def refuse_pointers(model: str, folder: Path) -> None:
    """Refuse a folder that was cloned without git-lfs.

    Raises:
        ModelError: a file is a pointer to the real one.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size <= _LARGEST_POINTER and path.read_bytes().startswith(_POINTER):
            raise ModelError(f"model '{model}': {path.name} is a git-lfs pointer, not the file; run git lfs pull")


def weight_files(model: str, folder: Path) -> list[Path]:
    """The safetensors files that transformers reads of a folder; empty where it holds no weights at all.

    Raises:
        ModelError: one that the index names is not there, the index cannot be read, or the weights are pickled.
    """
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        if pickled := sorted(path.name for path in folder.glob("pytorch_model*.bin")):
            raise ModelError(
                f"model '{model}': {pickled[0]} is a pickle, which may hold code; weights are read from safetensors "
                "alone, to which transformers' own tools convert it"
            )
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / str(name) for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"model '{model}': {index.name} cannot be read as an index of weights") from None
    if missing := [file.name for file in files if not file.is_file()]:
        raise ModelError(f"model '{model}': {missing[0]}, which {index.name} names, is missing")
    return files


def read_shapes(model: str, file: Path) -> dict[str, Shape]:
    """The shape of every tensor in a safetensors file, from its header.

    Raises:
        ModelError: the file is empty, cut off, or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    if file.stat().st_size == 0:
        raise ModelError(f"model '{model}': {file.name} is empty; copy it again")
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"model '{model}': {file.name} is damaged or not whole; copy it again ({one_line(error)})"
        ) from None


def check_shapes(model: str, skeleton: Any, shapes: Mapping[str, Shape]) -> None:
    """Hold the headers of the weights against the model that `config.json` describes, without weights.

    What goes under other names, as some architectures are stored, is left to the load itself.

    Raises:
        ModelError: a tensor has another shape, tensors are missing, or the model is far larger than its weights.
    """
    if getattr(skeleton.config, "quantization_config", None):
        # Packed weights have shapes of their own.
        return
    # ZeRO-3 leaves an empty tensor that knows its shape.
    modules = skeleton.state_dict(keep_vars=True).items()
    expected = {name: tuple(getattr(value, "ds_shape", value.shape)) for name, value in modules}
    stored_once = set(getattr(skeleton, "all_tied_weights_keys", None) or {})
    if other := sorted(name for name, shape in shapes.items() if expected.get(name, shape) != shape):
        raise _no_such_model(
            model,
            f"{other[0]} has the shape {_written(shapes[other[0]])}, where config.json wants "
            f"{_written(expected[other[0]])}",
        )
    ignorable = getattr(skeleton, "_keys_to_ignore_on_load_missing", None) or ()
    missing = {
        name
        for name in expected.keys() - shapes.keys() - stored_once
        if not any(re.search(pattern, name) for pattern in ignorable)
    }
    if missing and not shapes.keys() - expected.keys():
        raise _no_such_model(model, f"{_named(missing)} missing")
    wanted, held = (sum(map(math.prod, sizes.values())) for sizes in (expected, shapes))
    if wanted > _MOST_TIMES * held:
        raise _no_such_model(model, f"config.json describes {wanted:,} numbers, and the weights hold {held:,}")


def check_loaded(model: str, info: Mapping[str, Any]) -> None:
    """Refuse a model that transformers had to complete, or of which it left out something.

    Args:
        info: what `from_pretrained` gives with `output_loading_info`, less what transformers declares ignorable.

    Raises:
        ModelError: keys are missing, mismatched or unexpected; names the first few.
    """
    problems = []
    if missing := set(info["missing_keys"]):
        problems.append(f"{_named(missing)} missing")
    if other := {key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]}:
        problems.append(f"{_named(other)} of another shape than config.json wants")
    if unexpected := set(info["unexpected_keys"]):
        problems.append(f"{_named(unexpected)} not part of the model that config.json describes")
    if info["error_msgs"]:
        problems.append(one_line(info["error_msgs"][0]))
    if problems:
        raise _no_such_model(model, "; ".join(problems))


def one_line(error: object, limit: int = 300) -> str:
    """What an error of another library says, in one line; its kind before it where the text alone says little."""
    text = " ".join(str(error).split())
    if isinstance(error, Exception) and not (text and isinstance(error, OSError | ValueError | RuntimeError)):
        text = f"{type(error).__name__}{text and ': '}{text}"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _config_table(model: str, folder: Path) -> Mapping[str, Any]:
    """`config.json`, or nothing where there is none."""
    file = folder / "config.json"
    if not file.is_file():
        return {}
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model '{model}': config.json is not JSON: {one_line(error)}") from None
    if not isinstance(table, dict):
        raise ModelError(f"model '{model}': config.json holds no JSON object")
    return table


def _check_depth(model: str, table: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Before transformers reads the configuration, which makes a list as long as there are layers."""
    numbers = (re.search(r"\.(\d+)\.", name) for name in shapes)
    held = max((int(number[1]) + 1 for number in numbers if number), default=0)
    for place in (table, table.get("text_config")):
        for key in _DEPTHS:
            depth = place.get(key) if isinstance(place, Mapping) else None
            if isinstance(depth, int) and depth > held + _MOST_MORE_LAYERS:
                raise _no_such_model(model, f"config.json names {depth:,} layers, and the weights hold {held}")


def _no_such_model(model: str, what: str) -> ModelError:
    return ModelError(f"model '{model}': its weights are not those of one whole model: {what}")


def _named(names: Iterable[str]) -> str:
    ordered = sorted(names, key=_by_layer)
    told = ", ".join(ordered[:_NAMES_TOLD])
    more = len(ordered) - _NAMES_TOLD
    return f"{told}{f' and {more:,} more' if more > 0 else ''} {'is' if len(ordered) == 1 else 'are'}"


def _by_layer(name: str) -> list[str]:
    return [part.zfill(6) if part.isdigit() else part for part in name.split(".")]


def _written(shape: Shape) -> str:
    return " x ".join(f"{size:,}" for size in shape) or "a single number"
