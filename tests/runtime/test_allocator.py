"""How a real process that was started in an environment keeps a GPU's memory."""

import json
import os
import subprocess
import sys

NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
CODE = """
import json, os, sys
from calltune.cli import main
main(["check", "nowhere.toml"])
assert "torch" not in sys.modules
print(json.dumps([os.environ.get(name) for name in sys.argv[1:]]))
"""


def started(**given: str) -> list[str | None]:
    rest = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *NAMES], env=rest | given, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_memory_grows_in_place_unless_the_user_says_how_it_is_kept() -> None:
    assert started() == ["expandable_segments:True", None]
    theirs = "max_split_size_mb:64"
    assert started(PYTORCH_ALLOC_CONF=theirs) == [theirs, None]
    assert started(PYTORCH_CUDA_ALLOC_CONF=theirs) == [None, theirs]
