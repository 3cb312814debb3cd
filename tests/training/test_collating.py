"""Whole small runs whose batches are laid out where they are collated, also in worker processes."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import warm
from kernels_on_cpu import run_on_cpu

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.config.stages import Stage
from calltune.files.tracking import Tracker
from calltune.runtime.stopping import SECONDS_TO_END
from calltune.training.arguments import _loading, trl_arguments
from calltune.training.collating import close_workers
from calltune.training.layout import KEY
from calltune.training.ready import get_ready
from calltune.training.reference import store_reference
from calltune.training.settings import stage_settings
from calltune.training.steps import train
from calltune.training.trainer import make_trainer, share
from calltune.verbs import dpo, sft

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
RECIPES = {"sft": sft.RECIPE, "dpo": dpo.RECIPE}
# Plain steps: Adam would make a whole step of the rounding of a gradient that is nearly nothing.
STEPS = [f"{stage}.{key}" for stage in RECIPES for key in ("optim=sgd", "learning_rate=0.1", "num_train_epochs=2")]
WORKERS = [f"{stage}.dataloader_num_workers=2" for stage in RECIPES]
TIMES = ("runtime", "per_second")


@pytest.fixture
def trainer_of(write_run_file: Callable[..., Path]) -> Iterator[Callable[..., Any]]:
    """A stage's trainer before its first step, with some rows to be watched."""
    file = write_run_file()
    assert main(["prepare", str(file), "data.validation_fraction=0.2"]) == 0

    def make(stage: Stage, *overrides: str, attention: Any = "auto") -> Any:
        config = load_config(file, ["data.validation_fraction=0.2", *STEPS, *overrides])
        settings = dataclasses.replace(stage_settings(config, stage), attention=attention)
        trainer = make_trainer(get_ready(settings, RECIPES[stage], config.run_folder, config.model))
        sharing = share(settings, trainer)
        store_reference(trainer, config.run_folder / "reference", sharing)
        return trainer

    yield make
    close_workers()


def history(trainer: Any, stage: str) -> list[dict[str, Any]]:
    """What it learned, step by step and in validation, without clocks."""
    state, _ = train(trainer, stage, None, Tracker())
    return [{key: value for key, value in entry.items() if not key.endswith(TIMES)} for entry in state.log_history]


@pytest.mark.parametrize("stage", RECIPES)
def test_each_way_ends_in_the_same_metrics(
    stage: Stage, trainer_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_cpu(monkeypatch)
    plain = history(trainer_of(stage, "tuning.share_prefixes=false"), stage)
    assert any("eval_loss" in entry for entry in plain)
    for way in ("blocks", "varlen", "flex"):
        found = history(trainer_of(stage, attention=way), stage)
        assert len(found) == len(plain)
        for ours, theirs in zip(found, plain, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("bound", [[], ["launch.tokens_per_batch=300"]], ids=["whole", "passes"])
@pytest.mark.parametrize("stage", RECIPES)
def test_workers_change_no_bit(stage: Stage, bound: list[str], trainer_of: Callable[..., Any]) -> None:
    alone, with_workers = trainer_of(stage, *bound), trainer_of(stage, *bound, *WORKERS)
    batch = next(iter(alone.get_train_dataloader()))
    assert len(batch[KEY].parts) > 1 if bound else len(batch[KEY].parts) == 1
    expected = history(alone, stage)
    assert history(with_workers, stage) == expected
    for ours, theirs in zip(with_workers.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not worker_processes(psutil.Process())


@pytest.mark.parametrize("stage", RECIPES)
def test_a_trainer_s_step_computes_with_the_layout_of_its_batch(stage: Stage, trainer_of: Callable[..., Any]) -> None:
    trainer = trainer_of(stage)
    trainer.current_gradient_accumulation_steps = 1
    batch = next(iter(trainer.get_train_dataloader()))

    def loss() -> float:
        return float(trainer.training_step(trainer.model, dict(batch)))

    expected = loss()
    assert loss() == expected
    batch[KEY].longs.clamp_(max=3)
    assert loss() != expected
    # A batch of a foreign collator has none.
    del batch[KEY]
    assert loss() == expected


def worker_processes(parent: psutil.Process) -> list[psutil.Process]:
    """Those forked from it; a process that it begins otherwise has another command, or is about to."""
    found = []
    for each in parent.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if each.cmdline() == parent.cmdline():
                found.append(each)
    return found


@pytest.mark.parametrize("to_all", [False, True], ids=["the process", "all processes"])
@pytest.mark.parametrize("stage", RECIPES)
def test_stopped_with_workers_it_goes_on_to_the_same_bits(
    stage: Stage, to_all: bool, write_run_file: Callable[..., Path], tmp_path: Path
) -> None:
    words = [f"stages=['{stage}']", f"{stage}.num_train_epochs=30", f"{stage}.save_steps=1000"]
    file = write_run_file()
    for name in ("toy", "other"):
        assert main(["prepare", str(file), *words, f"name={name}"]) == 0
    process = warm.Process("-m", "calltune", stage, str(file), *words, *WORKERS)
    parent = psutil.Process(process.pid)
    inside: list[psutil.Process] = []
    deadline = time.monotonic() + 120
    while len(inside) < 2:
        assert process.poll() is None, process.printed()
        assert time.monotonic() < deadline
        inside = worker_processes(parent)
        time.sleep(0.02)
    time.sleep(1)
    asked = time.monotonic()
    for each in [parent, *(inside if to_all else [])]:
        os.kill(each.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143, error
    assert "Traceback" not in error
    assert time.monotonic() - asked < SECONDS_TO_END + 5
    assert psutil.wait_procs(inside, timeout=30)[1] == []
    again = warm.run("-m", "calltune", stage, str(file), *words, *WORKERS)
    assert (again.returncode, again.stdout.count("resuming from checkpoint-")) == (0, 1), again.stderr
    assert warm.run("-m", "calltune", stage, str(file), *words, "name=other").returncode == 0
    runs = [tmp_path / "runs" / name / stage for name in ("toy", "other")]
    assert runs[0].joinpath("model.safetensors").read_bytes() == runs[1].joinpath("model.safetensors").read_bytes()
    logs = [json.loads((run / "history.json").read_text())["log"] for run in runs]
    losses = [[entry["loss"] for entry in log if "loss" in entry] for log in logs]
    assert losses[0] == losses[1]


IN_A_CIRCLE = """
import gc, torch.utils.data._utils as utils
from torch.utils.data import DataLoader
from calltune.training.collating import _watch
utils.MP_STATUS_CHECK_INTERVAL = 0.1
loader = DataLoader(range(8), num_workers=1, persistent_workers=True)
_watch(loader)
print(len(next(iter(loader))), flush=True)
circle = [loader]
circle.append(circle)
del loader, circle
gc.collect()
"""


def test_a_process_ends_whose_loader_went_in_a_circle() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_CIRCLE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_on_a_gpu_workers_lay_batches_out(tmp_path: Path) -> None:
    def asked(cuda: bool, **table: Any) -> list[Any]:
        keys = ("num_workers", "persistent_workers", "prefetch_factor", "pin_memory")
        given = _loading(table, cuda) | table
        # They go together, or TRL's arguments would refuse them.
        trl_arguments("sft", given, output_dir=str(tmp_path))
        return [*(given.get(f"dataloader_{key}") for key in keys), given.get("accelerator_config")]

    at_once = {"non_blocking": True}
    assert asked(True) == [2, True, 4, True, at_once]
    assert asked(True, dataloader_num_workers=0) == [0, None, None, True, at_once]
    assert asked(True, dataloader_num_workers=5, dataloader_prefetch_factor=2) == [5, True, 2, True, at_once]
    assert asked(True, dataloader_pin_memory=False) == [2, True, 4, False, None]
    assert asked(False) == [0, None, None, False, None]
    assert asked(False, dataloader_num_workers=2) == [2, True, 4, False, None]
