import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from calltune.config.run_file import load_config
from calltune.training.memory import Memory, Shape, choose_checkpointing, training_memory
from calltune.training.settings import stage_settings
from calltune.training.tuning import plan_tuning

SMALL = Shape(layers=4, hidden=256, mlp=768, queries=256, keys=128, num_parameters=3_404_544, num_trained=3_404_544)
TOKENS = 1024

MEASURE = f"""
import ctypes, gc, os, torch
from pathlib import Path
from transformers import Qwen3Config, Qwen3ForCausalLM

def mebibytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

def two_steps(layers, width, tokens, checkpointing):
    model = Qwen3ForCausalLM(Qwen3Config(
        vocab_size=1000, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=width // 4, bos_token_id=None, eos_token_id=1,
        tie_word_embeddings=True))
    if checkpointing:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.train().parameters())
    for _ in range(2):
        states = model.base_model(input_ids=torch.ones(4, tokens // 4, dtype=torch.long), use_cache=False)
        model.lm_head(states.last_hidden_state[:, -8:]).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return sum(parameter.numel() for parameter in model.parameters())

torch.set_num_threads(1)
for checkpointing in (False, True):
    # In a process of its own, which inherits nothing but what is imported.
    if os.fork() == 0:
        two_steps(1, 16, 8, False)
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = mebibytes("VmRSS")
        parameters = two_steps({SMALL.layers}, {SMALL.hidden}, {TOKENS}, checkpointing)
        print(parameters, mebibytes("VmHWM") - before, flush=True)
        os._exit(0)
    os.wait()
"""


def estimate(checkpointing: bool, shape: Shape = SMALL, **others: int) -> Memory:
    sizes = {"weight_bytes": 4 * shape.num_parameters, "reference_bytes": 0, "tokens": TOKENS, **others}
    return training_memory(shape, autocast=False, checkpointing=checkpointing, **sizes)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell a process's peak")
def test_the_estimate_is_within_a_third_of_a_measured_peak() -> None:
    """Without gradient checkpointing and with it."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert [parameters for parameters, _ in measured] == [SMALL.num_parameters] * 2, done.stderr
    for checkpointing, (_, peak) in zip((False, True), measured, strict=True):
        assert 0.67 < estimate(checkpointing).total / peak < 1.33, checkpointing


def test_what_is_not_trained_has_no_gradient_and_no_moments() -> None:
    half = replace(SMALL, num_trained=SMALL.num_parameters // 2)
    whole, part = estimate(False), estimate(False, half)
    assert (part.gradients, part.optimizer) == (whole.gradients // 2, whole.optimizer // 2)
    assert (part.weights, part.activations) == (whole.weights, whole.activations)


def test_checkpointing_saves_activations_alone_and_pairs_double_them() -> None:
    kept, twice = estimate(False), estimate(True)
    assert twice.activations < kept.activations / 1.5
    assert twice.total - twice.activations == kept.total - kept.activations
    assert estimate(False, tokens=2 * TOKENS).activations == 2 * kept.activations


def test_a_reference_counts_and_the_text_adds_up() -> None:
    memory = estimate(False, reference_bytes=10**9)
    assert memory.text().startswith("weights 0.014 + gradients 0.014 + AdamW 0.027 + reference 1.00 + activations 0.1")
    assert memory.fits(round(memory.total / 0.8))
    assert not memory.fits(memory.total)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
@pytest.mark.parametrize(
    ("overrides", "on", "said"),
    [
        ([], False, "gradient checkpointing off\n"),
        (["STAGE.gradient_checkpointing=true"], True, "gradient checkpointing on (as the run file says)"),
        (
            ["STAGE.per_device_train_batch_size=400000000"],
            True,
            "GB without)\nSTAGE: that may not fit; lower per_device",
        ),
    ],
)
def test_the_choice_is_said_with_its_numbers(
    stage, overrides: list[str], on: bool, said: str, write_run_file: Callable[..., Path], tiny_model: Path, capsys
) -> None:
    config = load_config(write_run_file(), [override.replace("STAGE", stage) for override in overrides])
    settings = stage_settings(config, stage)
    skeleton = plan_tuning(settings, str(tiny_model)).skeleton
    assert choose_checkpointing(settings, skeleton, 512)[1] == on
    shown = capsys.readouterr().out
    assert said.replace("STAGE", stage) in shown
    assert "reference" not in shown, "it is computed before training"
    num_rows = settings.arguments.per_device_train_batch_size * (1 + (stage == "dpo"))
    assert f"{stage}: memory for {num_rows:,} rows" in shown


def test_adapters_need_less(write_run_file: Callable[..., Path], tiny_model: Path, capsys) -> None:
    sizes = {}
    for method in ("full", "lora", "qlora"):
        config = load_config(write_run_file(), [f"tuning.method={method}", "dpo.sync_ref_model=true"])
        settings = stage_settings(config, "dpo")
        choose_checkpointing(settings, plan_tuning(settings, str(tiny_model)).skeleton, 4)
        sizes[method] = capsys.readouterr().out
    assert "reference" in sizes["full"]
    assert "reference" not in sizes["lora"] + sizes["qlora"]
