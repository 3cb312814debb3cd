"""Code that comes with a model's folder is never run, whatever is answered on the terminal."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.cli import main

EVIL = """
open({ran!r}, "w").write("ran")
from transformers import Qwen3Config, Qwen3ForCausalLM
class EvilConfig(Qwen3Config):
    model_type = "evil"
class Evil(Qwen3ForCausalLM):
    config_class = EvilConfig
"""


@pytest.fixture
def evil(tiny_model: Path, tmp_path: Path) -> Path:
    """A model whose configuration, model and tokenizer all name code in its folder."""
    folder = shutil.copytree(tiny_model, tmp_path / "evil")
    (folder / "evil.py").write_text(EVIL.format(ran=str(tmp_path / "ran")))
    auto_map = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"}
    table = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(table | {"model_type": "evil", "auto_map": auto_map}))
    return folder


@pytest.mark.parametrize("verb", ["check", "sft", "evaluate"])
def test_a_yes_on_the_terminal_runs_nothing(
    verb: str, evil: Path, tiny_model: Path, tmp_path: Path, write_run_file: Callable[..., Path]
) -> None:
    assert main(["prepare", str(write_run_file(model=tiny_model)), "name=other"]) == 0
    shutil.copytree(tmp_path / "runs" / "other" / "data", tmp_path / "runs" / "toy" / "data")
    config = json.loads((tmp_path / "runs" / "other" / "config.json").read_text())
    (tmp_path / "runs" / "toy" / "config.json").write_text(json.dumps(config | {"model": str(evil)}))
    done = subprocess.run(
        [sys.executable, "-m", "calltune", verb, str(write_run_file(model=evil))],
        input="y\n" * 9,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"calltune: model '{evil}': its model needs code that comes with it, and such code is never run"
    )
    assert "Traceback" not in done.stderr
    assert "[y/N]" not in done.stdout + done.stderr
    assert not (tmp_path / "ran").exists()
