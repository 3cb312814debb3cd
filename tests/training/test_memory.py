import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from calltune.config.run_file import load_config
from calltune.training.batch_tokens import BatchTokens
from calltune.training.memory import (
    Memory,
    MemoryChoice,
    Shape,
    choose_memory,
    memory_of_tokens,
    shape_of,
    training_memory,
)
from calltune.training.settings import StageSettings, stage_settings
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


@dataclass(frozen=True)
class Stage:
    """A stage's settings, and its model without weights."""

    settings: StageSettings
    skeleton: Any

    def chosen(self, batches: BatchTokens, free: int) -> MemoryChoice:
        """What is chosen for such batches with so many bytes free."""
        return choose_memory(self.settings, self.skeleton, batches, free)

    def free(self, tokens: int, checkpointing: bool = False) -> int:
        """The bytes with which a pass of so many tokens fits, and hardly one more does."""
        return math.ceil((memory_of_tokens(self.settings, self.skeleton, tokens, checkpointing).total + 1) / 0.85)


@pytest.fixture(params=["sft", "dpo"])
def open_stage(request: pytest.FixtureRequest, write_run_file: Callable[..., Path], tiny_model: Path) -> Any:
    def opened(*overrides: str, stage: Any = request.param) -> Stage:
        settings = stage_settings(load_config(write_run_file(), overrides), stage)
        return Stage(settings, plan_tuning(settings, str(tiny_model)).skeleton)

    return opened


AGENT = BatchTokens(num_rows=16, longest=600, largest=4_000, is_shared=True)


def test_a_batch_for_which_there_is_room_is_left_whole(open_stage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stage = open_stage()
    choice = stage.chosen(AGENT, stage.free(8_192))
    assert (choice.checkpointing, choice.tokens_per_batch) == (False, 8_192)
    assert choice.memory == memory_of_tokens(stage.settings, stage.skeleton, 4_000, checkpointing=False)
    said = capsys.readouterr().out
    assert f"{stage.settings.stage}: memory for 16 rows with 4,000 distinct tokens, estimated: weights" in said
    assert "gradient checkpointing off; in one pass at most 8,192 tokens, for which there is room\n" in said
    assert said.count("\n") == 1
    assert "reference" not in said, "it is computed before training"


def test_a_batch_that_is_too_large_takes_passes_and_keeps_its_activations(
    open_stage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = open_stage()
    choice = stage.chosen(AGENT, stage.free(1_100))
    assert (choice.checkpointing, choice.tokens_per_batch) == (False, 1_024)
    assert choice.memory == memory_of_tokens(stage.settings, stage.skeleton, 1_024, checkpointing=False)
    assert ": memory for passes of 1,024 tokens, estimated:" in capsys.readouterr().out


def test_activations_are_computed_twice_only_where_the_longest_row_needs_it(
    open_stage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = open_stage()
    assert not stage.chosen(AGENT, stage.free(AGENT.longest)).checkpointing
    choice = stage.chosen(AGENT, stage.free(AGENT.longest) - 10)
    assert choice.checkpointing
    assert choice.tokens_per_batch is not None
    assert choice.tokens_per_batch > AGENT.longest
    assert choice.memory.fits(stage.free(AGENT.longest))
    assert "gradient checkpointing on (" in capsys.readouterr().out


def test_what_cannot_fit_is_said(open_stage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stage = open_stage()
    choice = stage.chosen(AGENT, 10**6)
    assert (choice.checkpointing, choice.tokens_per_batch) == (True, 256)
    name = stage.settings.stage
    assert f"{name}: that may not fit; lower max_length in [{name}], or use adapters" in capsys.readouterr().out


def test_the_run_file_has_the_last_word(open_stage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stage = open_stage("STAGE.gradient_checkpointing=true".replace("STAGE", open_stage().settings.stage))
    assert stage.chosen(AGENT, 10**12).checkpointing
    assert "gradient checkpointing on (as the run file says)" in capsys.readouterr().out
    stage = open_stage("launch.tokens_per_batch=2000")
    choice = stage.chosen(AGENT, stage.free(2_000))
    assert (choice.checkpointing, choice.tokens_per_batch) == (False, 2_000)
    assert stage.chosen(AGENT, stage.free(2_000) - 10).checkpointing
    assert "for which there is room" not in capsys.readouterr().out


def test_without_shared_prefixes_or_where_passes_are_refused_batches_stay_whole(open_stage: Any) -> None:
    """Checkpointing is then what makes them fit."""
    stage = open_stage()
    padded = replace(AGENT, is_shared=False)
    assert stage.chosen(padded, stage.free(4_000)) == MemoryChoice(
        memory_of_tokens(stage.settings, stage.skeleton, 4_000, checkpointing=False), False, None
    )
    assert stage.chosen(padded, stage.free(4_000) - 10).checkpointing
    sorting = open_stage("dpo.loss_type=['aot']", stage="dpo")
    assert sorting.chosen(AGENT, sorting.free(4_000)).tokens_per_batch is None
    assert sorting.chosen(AGENT, sorting.free(4_000) - 10).checkpointing


def test_adapters_need_less(open_stage: Any) -> None:
    sizes = {}
    for method in ("full", "lora", "qlora"):
        stage = open_stage(f"tuning.method={method}", "dpo.sync_ref_model=true", stage="dpo")
        sizes[method] = stage.chosen(AGENT, 10**9).memory
    assert sizes["full"].reference > 0
    assert sizes["lora"].reference == sizes["qlora"].reference == 0
    assert sizes["qlora"].weights < sizes["lora"].weights
    assert sizes["lora"].optimizer < sizes["full"].optimizer


def test_masters_are_the_optimisers(open_stage: Any) -> None:
    """bf16 weights; a master, a gradient and two moments in float32. A pass keeps no second copy of the weights."""
    stage = open_stage("tuning.precision=bf16-masters")
    memory = memory_of_tokens(stage.settings, stage.skeleton, 64, checkpointing=False)
    count = shape_of(stage.skeleton).num_parameters
    assert (memory.weights, memory.gradients, memory.optimizer) == (2 * count, 4 * count, 12 * count)
