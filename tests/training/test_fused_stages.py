"""Stages over whose models fused kernels are laid."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.files.tracking import Tracker
from calltune.training.ready import get_ready
from calltune.training.settings import stage_settings
from calltune.training.steps import train
from calltune.training.trainer import make_trainer, share
from calltune.verbs import sft

# torch's compiler imports what torch itself deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")


@needs_compiler
@pytest.mark.parametrize("more", [[], ["sft.gradient_checkpointing=true"], ["tuning.method=lora"]])
def test_a_stage_learns_what_it_learns_without(more: list[str], write_run_file: Callable[..., Path]) -> None:
    words = [str(write_run_file()), "sft.max_steps=4", "sft.learning_rate=1e-3", *more]
    assert main(["prepare", *words]) == 0
    found = []
    for kind in ("off", "compile"):
        config = load_config(Path(words[0]), [*words[1:], f"tuning.fused_kernels={kind}"])
        settings = stage_settings(config, "sft")
        trainer = make_trainer(get_ready(settings, sft.RECIPE, config.run_folder, config.model))
        assert share(settings, trainer).off_because is None
        state, _ = train(trainer, "sft", None, Tracker())
        found.append([entry["loss"] for entry in state.log_history if "loss" in entry])
    assert found[1] == pytest.approx(found[0], abs=1e-4)


def test_liger_on_a_cpu_is_one_line(write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(write_run_file()), "tuning.fused_kernels=liger"]
    assert main(["prepare", *words]) == 0
    capsys.readouterr()
    assert main(["sft", *words]) == 2
    line = "run.toml: tuning.fused_kernels: 'liger' needs a GPU, and this machine has none\n"
    assert capsys.readouterr().err.endswith(line)


@needs_compiler
def test_a_stage_says_how_it_computes(write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(write_run_file()), "sft.max_steps=2"]
    assert main(["prepare", *words]) == 0
    assert main(["sft", *words]) == 0
    assert "fused kernels" not in capsys.readouterr().out
    assert main(["sft", *words, "tuning.precision=bf16-masters", "tuning.fused_kernels=compile"]) == 0
    said = capsys.readouterr().out
    assert "sft: bf16 weights with float32 masters; fused kernels: compile (11 modules)\n" in said
    assert "shared prefixes are off" not in said
