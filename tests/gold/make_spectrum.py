"""Record Spectrum's signal-to-noise ratios and choices on matrices made by seed: writes `spectrum.json`.

    python make_spectrum.py

The formula and the choice are those of cognitivecomputations/spectrum, `spectrum.py` at
0ed1756bc4a7920249860bcd0a32b551bcdf6d1f (`calculate_snr_for_layer`, `generate_unfrozen_params_yaml`), written down
anew: `torch.linalg.svdvals` in float32, quartiles by `torch.quantile`. The matrices have the shapes of Qwen3-1.7B's, an
eighth in each direction but for two whole ones, rounded to bf16 as published weights are, each with some strong
directions, as trained ones have. Not part of the test run, which reads the file and makes the same matrices.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

LAYERS = 6
SHAPES = {
    "mlp.down_proj": (256, 768),
    "mlp.gate_proj": (768, 256),
    "mlp.up_proj": (768, 256),
    "self_attn.k_proj": (128, 256),
    "self_attn.o_proj": (256, 256),
    "self_attn.q_proj": (256, 256),
    "self_attn.v_proj": (128, 256),
}
WHOLE = {"self_attn.q_proj": (2048, 2048), "self_attn.k_proj": (1024, 2048)}
PERCENTS = (20, 50, 84)


def matrix(seed, shape):
    """Noise and some strong directions, more or fewer and stronger or weaker by the seed."""
    generator = np.random.Generator(np.random.PCG64(seed))
    rank, strength = int(generator.integers(1, 33)), generator.uniform(0.002, 0.05)
    noise = generator.standard_normal(shape) * 0.02
    signal = generator.standard_normal((shape[0], rank)) @ generator.standard_normal((rank, shape[1]))
    return torch.from_numpy(noise + strength * signal).to(torch.bfloat16)


def matrices():
    """Matrices by module name."""
    small = [(f"model.layers.{layer}.{kind}", shape) for kind, shape in SHAPES.items() for layer in range(LAYERS)]
    whole = [(f"whole.layers.0.{kind}", shape) for kind, shape in WHOLE.items()]
    return {name: matrix(seed, shape) for seed, (name, shape) in enumerate([*small, *whole])}


def ratio(weight):
    values = torch.linalg.svdvals(weight.float())
    sigma = (torch.quantile(values, 0.75) - torch.quantile(values, 0.25)) / 1.349
    rows, columns = weight.shape
    beta = rows / columns if rows < columns else columns / rows
    threshold = sigma * np.sqrt((1 + np.sqrt(beta)) ** 2)
    return (values[values > threshold].sum() / values[~(values > threshold)].sum() / values[0]).item()


def choice(ratios, percent):
    chosen = {}
    for kind in SHAPES:
        names = [name for name in ratios if name.startswith("model.") and name.endswith(kind)]
        ranked = sorted(names, key=lambda name: ratios[name], reverse=True)
        chosen[kind] = ranked[: int(len(ranked) * percent / 100)]
    return chosen


def main():
    weights = matrices()
    ratios = {name: ratio(weight) for name, weight in weights.items()}
    gold = {
        "made_by": {
            "follows": "cognitivecomputations/spectrum 0ed1756bc4a7920249860bcd0a32b551bcdf6d1f",
            "packages": {name: version(name) for name in ("torch", "numpy")},
            "python": platform.python_version(),
        },
        "sums": {name: weight.double().abs().sum().item() for name, weight in weights.items()},
        "ratios": ratios,
        "chosen": {str(percent): choice(ratios, percent) for percent in PERCENTS},
    }
    (Path(__file__).parent / "spectrum.json").write_text(json.dumps(gold, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
