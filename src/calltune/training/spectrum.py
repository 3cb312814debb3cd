"""Spectrum (arXiv 2406.06623): which weight matrices carry the most signal, so that training can be limited to them.

The signal-to-noise ratio follows cognitivecomputations/spectrum, `spectrum.py` at 0ed1756b: of the singular values S
of a matrix, those above sigma * (1 + sqrt(beta)) are signal, where sigma = IQR(S) / 1.349 and beta is the smaller over
the larger dimension; SNR = sum(signal) / sum(noise) / max(S). Of every kind of matrix (`mlp.down_proj`, ...) the layers
with the highest ratio are trained. The original also ranks norms, whose single singular value makes every layer equal,
takes whatever comes first among equals, and always adds head and embeddings; here none of that happens unasked.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
import yaml

from calltune.errors import ConfigError, ModelError
from calltune.files.json_lines import atomic_writer

_NORMAL_IQR = 1.349
_BLOCKS = 8


def singular_values(weight: torch.Tensor) -> torch.Tensor:
    """The singular values of a matrix in float64, largest first, from the eigenvalues of its Gram matrix.

    In float32 squaring loses the small ones: measured on 2048 x 2048 with a tenth of its spectrum in a few directions,
    the ratio was off by 4e-5. In float64 it is right to 1e-6 and still takes a third of the time of `svdvals`.
    """
    matrix = (weight if weight.shape[0] <= weight.shape[1] else weight.T).to(torch.float64)
    size = matrix.shape[0]
    gram = torch.zeros(size, size, dtype=torch.float64)
    step = -(-size // _BLOCKS)
    for start in range(0, size, step):
        # eigvalsh reads the lower triangle alone, so the blocks above it are never computed.
        stop = start + step
        torch.mm(matrix[start:stop], matrix[:stop].T, out=gram[start:stop, : min(stop, size)])
    return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)


def signal_to_noise(weight: torch.Tensor) -> float:
    """Spectrum's ratio of a matrix; not a finite number where the matrix is not finite or has no noise at all."""
    if not torch.isfinite(weight).all():
        return math.nan
    values = singular_values(weight)
    lower, upper = torch.quantile(values, torch.tensor([0.25, 0.75], dtype=values.dtype))
    beta = min(weight.shape) / max(weight.shape)
    is_signal = values > (upper - lower) / _NORMAL_IQR * (1 + math.sqrt(beta))
    return float(values[is_signal].sum() / values[~is_signal].sum() / values[0])


def kind_of(module: str) -> str | None:
    """What a module's name has behind its layer number, or None outside the layers: `mlp.down_proj`."""
    parts = module.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return None if number is None else ".".join(parts[number + 1 :])


def highest(ratios: Mapping[str, float], percent: float) -> dict[str, list[str]]:
    """Of each kind of module the `percent` with the highest ratio, rounded down, the highest first.

    Args:
        ratios: by module name, such as `model.layers.3.mlp.down_proj`.

    Raises:
        ModelError: a ratio is not a number, two ratios at the border of the choice are equal, or nothing is chosen.
    """
    kinds: dict[str, list[str]] = {}
    for module in ratios:
        kinds.setdefault(kind_of(module) or module, []).append(module)
    chosen = {}
    for kind, modules in sorted(kinds.items()):
        if strange := [module for module in modules if not math.isfinite(ratios[module])]:
            raise ModelError(
                f"Spectrum cannot rank '{kind}': the signal-to-noise ratio of '{strange[0]}' is {ratios[strange[0]]}"
            )
        ranked = sorted(modules, key=lambda module: ratios[module], reverse=True)
        count = math.floor(len(ranked) * percent / 100)
        if 0 < count < len(ranked) and ratios[ranked[count - 1]] == ratios[ranked[count]]:
            raise ModelError(
                f"Spectrum cannot rank '{kind}': '{ranked[count - 1]}' and '{ranked[count]}' have the same "
                "signal-to-noise ratio, so which of them is trained would be chance"
            )
        chosen[kind] = ranked[:count]
    if not any(chosen.values()):
        most = max(map(len, kinds.values()), default=0)
        raise ModelError(f"Spectrum chooses nothing: {percent:g} % of {most} layers is less than one")
    return chosen


def write_unfrozen(path: Path, always: Sequence[str], chosen: Mapping[str, Iterable[str]]) -> None:
    """Write patterns in the layout of the original's `unfrozen_parameters` file, which axolotl reads too."""
    with atomic_writer(path) as file:
        file.write("unfrozen_parameters:\n")
        file.writelines(f"- {pattern}\n" for pattern in always)
        for kind, modules in chosen.items():
            file.write(f"# {kind} layers\n")
            file.writelines(f"- {module}\n" for module in modules)


def read_unfrozen(path: Path) -> list[str]:
    """The patterns of an `unfrozen_parameters` file: regular expressions for the beginnings of parameter names.

    Raises:
        ConfigError: the file is missing, is not YAML of that layout, or a pattern is not a regular expression.
    """
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"tuning.spectrum_file: {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"tuning.spectrum_file: {path}: not YAML: {' '.join(str(error).split())}") from None
    patterns = table.get("unfrozen_parameters") if isinstance(table, dict) else None
    if not isinstance(patterns, list) or not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"tuning.spectrum_file: {path}: 'unfrozen_parameters' must be a list of patterns")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"tuning.spectrum_file: {path}: '{pattern}' is not a regular expression: {error}"
            ) from None
    return patterns


def read_ratios(path: Path) -> dict[str, float] | None:
    """Ratios from a cache file, or None where there is none that can be read."""
    try:
        ratios = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return ratios if isinstance(ratios, dict) else None
