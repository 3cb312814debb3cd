"""How a real process that was started in an environment keeps a GPU's memory."""

import json
import os
import subprocess
import sys

NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
KERNELS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
CODE = """
import json, os, sys
from calltune.cli import main
main(["check", "nowhere.toml"])
assert "torch" not in sys.modules
print(json.dumps([os.environ.get(name) for name in sys.argv[1:]]))
"""


MATRICES = """
import ctypes, gc, sys
from calltune.runtime.allocator import keep_few_kernels
if sys.argv[1] == "few":
    keep_few_kernels()
import psutil, torch
torch.set_num_threads(1)
def taken():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss / 2**20
weights = [torch.ones(size, 256, dtype=torch.bfloat16, requires_grad=True) for size in (64, 128, 192, 256)]
for length in range(40, 140):
    for weight in weights:
        rows = torch.ones(length, 256, dtype=torch.bfloat16, requires_grad=True)
        torch.nn.functional.linear(rows, weight).sum().backward()
    if length == 59:
        before = taken()
print(taken() - before)
"""


def started(*names: str, **given: str) -> list[str | None]:
    names = names or NAMES
    rest = {name: value for name, value in os.environ.items() if name not in (*NAMES, *KERNELS)}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *names], env=rest | given, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_memory_grows_in_place_unless_the_user_says_how_it_is_kept() -> None:
    assert started() == ["expandable_segments:True", None]
    theirs = "max_split_size_mb:64"
    assert started(PYTORCH_ALLOC_CONF=theirs) == [theirs, None]
    assert started(PYTORCH_CUDA_ALLOC_CONF=theirs) == [None, theirs]


def test_few_kernels_are_kept_unless_the_user_says_how_many() -> None:
    assert started(*KERNELS) == ["64", "64"]
    assert started(*KERNELS, LRU_CACHE_CAPACITY="7") == ["64", "7"]


def test_rows_of_new_lengths_do_not_fill_the_memory() -> None:
    rest = {name: value for name, value in os.environ.items() if name not in KERNELS}

    def grown(kernels: str) -> float:
        command = [sys.executable, "-c", MATRICES, kernels]
        return float(subprocess.run(command, env=rest, capture_output=True, text=True, check=True).stdout)

    assert grown("few") < 20 < grown("all")
