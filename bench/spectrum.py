"""Spectrum's signal-to-noise ratios: calltune's against the original's method, in one process, on one thread.

    python bench/spectrum.py [--quick]

The matrices have the shapes of one layer of Qwen3-1.7B, in bf16, made by seed: noise and a few strong directions. The
peer is what cognitivecomputations/spectrum (0ed1756b) does with a layer: `torch.linalg.svdvals` of the float32 weight,
quartiles, threshold, sums. Both sides have to give the same ratios. What is compared is the process's CPU seconds; peak
memory is what calltune's largest matrix adds to the process. The last line is one JSON object.
"""

import argparse
import ctypes
import gc
import json
import math
import time
from importlib.metadata import version
from pathlib import Path

import torch

from calltune.training.spectrum import signal_to_noise

SHAPES = {
    "self_attn.k_proj": (1024, 2048),
    "self_attn.q_proj": (2048, 2048),
    "mlp.gate_proj": (6144, 2048),
    "mlp.down_proj": (2048, 6144),
    "self_attn.v_proj": (1024, 2048),
    "self_attn.o_proj": (2048, 2048),
    "mlp.up_proj": (6144, 2048),
}
QUICK = 4  # one matrix of each shape
TARGET, LIMIT_MIB = 2.5, 2048


def matrix(seed, shape):
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(shape[0], 16, generator=generator), torch.randn(16, shape[1], generator=generator)
    return (0.02 * torch.randn(shape, generator=generator) + 0.005 * left @ right).to(torch.bfloat16)


def by_peer(weight):
    values = torch.linalg.svdvals(weight.float())
    sigma = (torch.quantile(values, 0.75) - torch.quantile(values, 0.25)) / 1.349
    is_signal = values > sigma * (1 + math.sqrt(min(weight.shape) / max(weight.shape)))
    return (values[is_signal].sum() / values[~is_signal].sum() / values[0]).item()


def memory(field):
    """A figure of /proc/self/status in MiB; None where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), None)


def peak_mib(weight):
    """By how many MiB the process grows while calltune ranks a matrix; None where the system does not tell."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    before = memory("VmRSS")
    signal_to_noise(weight)
    peak = memory("VmHWM")
    return None if before is None or peak is None else round(peak - before)


def timed(rank, weight):
    start = time.process_time()
    ratio = rank(weight)
    return time.process_time() - start, ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one matrix of each shape; without it, a whole layer")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    weights = {kind: matrix(seed, shape) for seed, (kind, shape) in enumerate(SHAPES.items())}
    if quick:
        weights = dict(list(weights.items())[:QUICK])
    for rank in (by_peer, signal_to_noise):
        rank(matrix(0, (64, 64)))
    seconds = {"peer": 0.0, "calltune": 0.0}
    largest = 0.0
    for kind, weight in weights.items():
        # In turns: on a busy machine a second of CPU time is not always worth the same.
        theirs, expected = timed(by_peer, weight)
        ours, found = timed(signal_to_noise, weight)
        seconds["peer"] += theirs
        seconds["calltune"] += ours
        difference = abs(found - expected) / expected
        largest = max(largest, difference)
        print(f"{kind} {tuple(weight.shape)}: peer {theirs:.2f} s, calltune {ours:.2f} s, difference {difference:.1e}")
    assert largest < 1e-5, f"ratios differ from the original's by {largest:.1e}, relative"
    peak = peak_mib(max(weights.values(), key=torch.numel))
    assert peak is None or peak < LIMIT_MIB, f"{peak} MiB"
    result = {
        "name": "spectrum",
        "ratio": round(seconds["peer"] / seconds["calltune"], 2),
        "peer": "cognitivecomputations/spectrum 0ed1756b: torch.linalg.svdvals in float32",
        "versions": {"torch": version("torch")},
        "targets": {"ratio": TARGET, "peak_mib": LIMIT_MIB},
        "cpu_seconds": {side: round(value, 2) for side, value in seconds.items()},
        "peak_mib": peak,
        "matrices": {kind: list(weight.shape) for kind, weight in weights.items()},
        "largest_relative_difference": float(f"{largest:.1e}"),
        "quick": quick,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
