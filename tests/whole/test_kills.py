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

WARM = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
# Answers are used twice, so that checkpoints stand between the uses, too.
GRPO = [f"model={WARM}", "grpo.num_generations=4", "grpo.per_device_train_batch_size=8", "grpo.max_steps=9"]
GRPO += ["grpo.max_completion_length=32", "grpo.learning_rate=1e-3", "grpo.beta=0.1"]
TWICE = ["grpo.steps_per_generation=2", "grpo.num_iterations=2", "grpo.save_steps=1"]


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("sft", ["sft.gradient_accumulation_steps=2"]),
        ("dpo", [*LORA, *MPO]),
        ("dpo", [*LORA, *MPO, "launch.tokens_per_batch=256"]),
        ("grpo", [*GRPO, "grpo.eval_strategy=steps", "grpo.eval_steps=4"]),
        ("grpo", [*GRPO, *TWICE, "grpo.eval_strategy=no"]),
    ],
    ids=[
        "sft of all weights",
        "mpo of adapters with dropout",
        "the same in several passes a step",
        "grpo",
        "grpo twice",
    ],
)
def test_kills_change_nothing(write_run_file: Callable[..., Path], stage: str, overrides: list[str]) -> None:
    # Two rows are watched, so that evaluation, which draws random numbers, falls between the checkpoints too.
    words = [str(write_run_file()), f"stages=['{stage}']", "data.validation_fraction=0.1", *overrides]
    settings = {"num_train_epochs": 4, "save_steps": 2, "per_device_train_batch_size": 2}
    named = {word.partition("=")[0] for word in overrides}
    words += [f"{stage}.{key}={value}" for key, value in settings.items() if f"{stage}.{key}" not in named]
    assert main(["prepare", *words]) == 0
    done = warm.run(str(SCRIPT), words[0], stage, *words[1:], "--kills", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] >= 1
    assert found["same_history"]
    assert found["same_weights"]
    assert found["same_counts"]
