"""bf16 weights with float32 masters learn what float32 weights learn, and are resumed and saved to the bit."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from calltune.config.run_file import Config, load_config
from calltune.errors import ConfigError
from calltune.files.hashes import file_sha256
from calltune.files.tracking import Tracker
from calltune.models.load import load_model
from calltune.training.masters import require_same_precision, stored_masters
from calltune.training.ready import get_ready
from calltune.training.reference import store_reference
from calltune.training.settings import stage_settings
from calltune.training.steps import train
from calltune.training.trainer import make_trainer, share
from calltune.verbs import dpo, prepare, sft

MASTERS = "tuning.precision=bf16-masters"
STEPS = ["sft.max_steps=50", "sft.learning_rate=2e-5", "sft.lr_scheduler_type=constant"]
STEPS += ["name='watched'", "data.validation_fraction=0.25", "sft.eval_strategy=steps", "sft.eval_steps=50"]
RECIPES = {"sft": sft.RECIPE, "dpo": dpo.RECIPE}


@pytest.fixture
def configured(write_run_file: Callable[..., Path]) -> Callable[..., Config]:
    """A run's configuration, with its rows made."""
    file = write_run_file()
    prepare.run(load_config(file))
    return lambda *overrides: load_config(file, list(overrides))


def ready_trainer(config: Config, stage: Any = "sft") -> Any:
    settings = stage_settings(config, stage)
    trainer = make_trainer(get_ready(settings, RECIPES[stage], config.run_folder, config.model))
    store_reference(trainer, config.run_folder / "reference", share(settings, trainer))
    return trainer


def flat(tensors: Any) -> torch.Tensor:
    return torch.cat([each.detach().double().flatten() for each in tensors])


def trained(config: Config, stage: Any = "sft", checkpoint: Path | None = None) -> tuple[list[float], torch.Tensor]:
    """The losses of a stage's steps and of its validation, and its weights after them, or their masters."""
    trainer = ready_trainer(config, stage)
    state, _ = train(trainer, stage, checkpoint, Tracker())
    masters = trainer.optimizer.state_dict().get("masters", {})
    weights = masters.values() if masters else trainer.model.parameters()
    told = [entry[key] for entry in state.log_history for key in ("loss", "eval_loss") if key in entry]
    return told, flat(weights)


def relative(found: torch.Tensor, right: torch.Tensor) -> float:
    return float((found - right).norm() / right.norm())


def test_fifty_steps_are_those_of_float32_weights_where_bf16_weights_alone_lose_them(
    configured: Callable[..., Config], tiny_model: Path
) -> None:
    """Updates are 2e-5, and half of what bf16 can tell apart in weights of 0.02 is 6e-5."""
    prepare.run(configured(*STEPS))
    before = flat(load_model(str(tiny_model), torch.float32).parameters())
    rounded = flat(load_model(str(tiny_model), torch.bfloat16).parameters())
    right_losses, right = trained(configured(*STEPS, "sft.bf16=true"))
    losses, masters = trained(configured(*STEPS, MASTERS))
    lossy_losses, lossy = trained(configured(*STEPS, "sft.bf16=true", "sft.model_init_kwargs.dtype=bfloat16"))
    assert relative(masters - before, right - before) < 0.02
    assert relative(lossy - rounded, right - before) > 0.5
    off, lost = ((torch.tensor(each) - torch.tensor(right_losses)).abs().max() for each in (losses, lossy_losses))
    assert off < 0.001 < 0.01 < lost
    # The last is the validation's.
    assert len(losses) == 51
    assert abs(losses[-1] - right_losses[-1]) < 0.001 < 0.005 < abs(lossy_losses[-1] - right_losses[-1])


@pytest.mark.parametrize("more", [[], ["dpo.sync_ref_model=true", "dpo.ref_model_sync_steps=2"]])
def test_preferences_are_learned_as_with_float32_weights(
    more: list[str], configured: Callable[..., Config], tiny_model: Path
) -> None:
    steps = ["dpo.max_steps=8", "dpo.learning_rate=2e-5", "dpo.lr_scheduler_type=constant", *more]
    before = flat(load_model(str(tiny_model), torch.float32).parameters())
    right_losses, right = trained(configured(*steps, "dpo.bf16=true"), "dpo")
    losses, masters = trained(configured(*steps, MASTERS), "dpo")
    assert relative(masters - before, right - before) < 0.1
    assert losses == pytest.approx(right_losses, abs=0.01)


# Gradients of several passes are summed in float32; several groups have decays of their own.
WAYS = {
    "whole": [],
    "accumulated": ["sft.gradient_accumulation_steps=2"],
    "bounded": ["launch.tokens_per_batch=300"],
    "checkpointed": ["sft.gradient_checkpointing=true"],
    "decayed and clipped": ["sft.weight_decay=0.1", "sft.max_grad_norm=0.1"],
    "adafactor": ["sft.optim=adafactor"],
    "sgd": ["sft.optim=sgd", "sft.learning_rate=0.05"],
    "bitsandbytes": ["sft.optim=adamw_bnb_8bit"],
}


@pytest.mark.parametrize("more", WAYS.values(), ids=WAYS.keys())
def test_each_way_to_make_a_step(more: list[str], configured: Callable[..., Config], tiny_model: Path) -> None:
    before = flat(load_model(str(tiny_model), torch.float32).parameters())
    steps = ["sft.max_steps=5", "sft.learning_rate=1e-4", *more]
    _, right = trained(configured(*steps, "sft.bf16=true"))
    _, masters = trained(configured(*steps, MASTERS))
    assert relative(masters - before, right - before) < 0.05


def test_a_resumed_stage_is_the_undisturbed_one_to_the_bit(configured: Callable[..., Config]) -> None:
    config = configured("sft.max_steps=6", "sft.save_steps=3", "sft.learning_rate=1e-3", MASTERS)
    losses, masters = trained(config)
    again_losses, again = trained(config)
    assert torch.equal(masters, again)
    assert losses == again_losses
    checkpoint = config.run_folder / "sft" / "checkpoints" / "checkpoint-3"
    resumed_losses, resumed = trained(config, checkpoint=checkpoint)
    assert resumed_losses == losses
    assert torch.equal(resumed, masters)


def half_of(model: Path, folder: Path) -> Path:
    """The same model, stored in bf16."""
    shutil.copytree(model, folder)
    load_model(str(model), torch.bfloat16).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("stored", ["bfloat16", "float32"])
@pytest.mark.parametrize("tuning", [["tuning.method=full"], ["tuning.method=spectrum", "tuning.spectrum_percent=50"]])
def test_the_saved_model_is_the_masters_rounded_once_to_the_bases_precision(
    stored: str, tuning: list[str], configured: Callable[..., Config], tiny_model: Path, tmp_path: Path
) -> None:
    base = half_of(tiny_model, tmp_path / "half") if stored == "bfloat16" else tiny_model
    # One that is kept, to be looked at.
    config = configured(
        "sft.max_steps=3", "sft.learning_rate=1e-3", MASTERS, f"model='{base}'", "name='saved'", *tuning
    )
    prepare.run(config)
    sft.run(config)
    folder = config.run_folder / "sft"
    saved, begun = load_file(folder / "model.safetensors"), load_file(base / "model.safetensors")
    assert {str(each.dtype) for each in saved.values()} == {f"torch.{stored}"}
    _, masters = trained(config)
    found = stored_masters(folder / "checkpoints" / "checkpoint-3")
    assert found is not None
    assert torch.equal(masters, flat(found.values()))
    for name, weight in saved.items():
        right = found[name].to(weight.dtype) if name in found else begun[name]
        assert torch.equal(weight, right), name
    assert sum(not torch.equal(saved[name], begun[name]) for name in found) > 5
    # Rounded numbers would do as well for a float32 base, if they were not lost.
    assert stored == "bfloat16" or any(not torch.equal(each, each.bfloat16().float()) for each in found.values())
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["precision"] == "bf16-masters"


REFUSED = {
    "the weights beside adapters": ["tuning.method=lora"],
    "model_init_kwargs.dtype names another precision": ["sft.model_init_kwargs.dtype=bfloat16"],
    "matrices are not multiplied in bf16": ["sft.bf16=false"],
    "save_only_model leaves the optimiser": ["sft.save_only_model=true"],
    "the optimiser 'lomo' keeps or moves weights outside of its steps": ["sft.optim=lomo"],
}


@pytest.mark.parametrize(("line", "more"), REFUSED.items(), ids=REFUSED.keys())
def test_where_masters_cannot_be_one_line_says_why(
    line: str, more: list[str], write_run_file: Callable[..., Path]
) -> None:
    config = load_config(write_run_file(), [MASTERS, *more])
    with pytest.raises(ConfigError, match=f"run.toml: tuning.precision 'bf16-masters' of sft: {line}"):
        stage_settings(config, "sft")
    assert not stage_settings(load_config(write_run_file(), more), "sft").has_masters


def test_sharded_models_are_refused(write_run_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="FSDP and DeepSpeed keep a model's precisions themselves"):
        stage_settings(load_config(write_run_file(), [MASTERS]), "sft")


@pytest.mark.parametrize("first", [True, False])
def test_a_checkpoint_of_another_precision_is_not_gone_on_from(
    first: bool, configured: Callable[..., Config], tmp_path: Path
) -> None:
    """The run file's word is in the stage's inputs; what `auto` chose on another device is not."""
    trained(config := configured("sft.max_steps=1", *([MASTERS] if first else [])))
    checkpoint = config.run_folder / "sft" / "checkpoints" / "checkpoint-1"
    require_same_precision(checkpoint, first, "sft")
    require_same_precision(None, not first, "sft")
    was = "bf16-masters" if first else "float32"
    with pytest.raises(ConfigError, match=f"^sft: checkpoint-1 was trained with precision '{was}', and here"):
        require_same_precision(checkpoint, not first, "sft")


@pytest.mark.parametrize("more", [[], ["sft.gradient_accumulation_steps=2"], ["launch.tokens_per_batch=300"]])
def test_two_processes_learn_what_one_learns(
    more: list[str], configured: Callable[..., Config], tmp_path: Path
) -> None:
    steps = [MASTERS, "sft.max_steps=4", "sft.learning_rate=1e-3", *more]
    one, two = configured(*steps), tmp_path / "run.toml"
    sft.run(one)
    words = ["name='two'", "launch.processes=2", "sft.per_device_train_batch_size=2", *steps]
    prepare.run(load_config(two, words))
    subprocess.run([sys.executable, "-m", "calltune", "sft", str(two), *words], check=True, capture_output=True)
    begun = flat(load_file(Path(one.model) / "model.safetensors").values())
    alone, together = (
        flat(load_file(folder / "model.safetensors").values())
        for folder in (one.run_folder / "sft", one.run_folder.parent / "two" / "sft")
    )
    # AdamW's first steps are as long for a gradient of noise as for another.
    assert relative(together - begun, alone - begun) < 0.1


def test_a_run_again_has_the_same_files(configured: Callable[..., Config]) -> None:
    hashes = []
    for name in ("first", "second"):
        config = configured("sft.max_steps=2", MASTERS, f"name='{name}'")
        prepare.run(config)
        sft.run(config)
        hashes.append(file_sha256(config.run_folder / "sft" / "model.safetensors"))
    assert hashes[0] == hashes[1]
