"""Killed with SIGKILL at random moments and run again, a stage ends bit by bit as one that was never killed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import warm

from calltune.cli import main

SCRIPT = Path(__file__).parents[1] / "material" / "kill_script.py"
LORA = ["tuning.method=lora", "lora.r=4", "lora.lora_dropout=0.1"]
MPO = ["dpo.loss_type=['sigmoid', 'bco_pair', 'sft']", "dpo.loss_weights=[0.8, 0.2, 1.0]"]


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("sft", ["sft.gradient_accumulation_steps=2"]),
        ("dpo", [*LORA, *MPO]),
        ("dpo", [*LORA, *MPO, "launch.tokens_per_batch=256"]),
    ],
    ids=["sft of all weights", "mpo of adapters with dropout", "the same in several passes a step"],
)
def test_kills_change_nothing(write_run_file: Callable[..., Path], stage: str, overrides: list[str]) -> None:
    # Two rows are watched, so that evaluation, which draws random numbers, falls between the checkpoints too.
    words = [str(write_run_file()), f"stages=['{stage}']", "data.validation_fraction=0.1", *overrides]
    words += [f"{stage}.num_train_epochs=4", f"{stage}.save_steps=2", f"{stage}.per_device_train_batch_size=2"]
    assert main(["prepare", *words]) == 0
    done = warm.run(str(SCRIPT), words[0], stage, *words[1:], "--kills", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] >= 1
    assert found["same_history"]
    assert found["same_weights"]
    assert found["same_counts"]
