"""The first number that is none ends a stage, in one line that says where, and nothing counts as done."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from changed_models import DOWN, INFINITY, NAN, with_number

from calltune.calling.chat import Chat
from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.data.rows import training_row
from calltune.data.sources import synthetic
from calltune.errors import ConfigError, NotFiniteError
from calltune.files.json_lines import write_jsonl
from calltune.models.load import load_tokenizer
from calltune.training.finite import not_finite_weight, require_finite_weights, row_names, token_rows
from calltune.training.recipe import fit_rows
from calltune.training.settings import stage_settings
from calltune.training.trainer import to_dataset
from calltune.verbs import dpo, sft

WILD = ["sft.learning_rate=1e30", "sft.save_steps=1"]


def sealed(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("checkpoints/*/complete.json"))


@pytest.fixture
def stopped(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The line with which a stage ends that must not come to its end; nothing of it may look like one."""

    def run(verb: str, *overrides: str, model: Path | None = None) -> str:
        file = write_run_file(**({"model": model} if model else {}))
        assert main(["prepare", str(file), *overrides]) == 0
        capsys.readouterr()
        assert main([verb, str(file), *overrides]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        folder = tmp_path / "runs" / "toy" / verb
        assert not (folder / "manifest.json").exists()
        assert not (folder / "history.json").exists()
        assert not (folder / "model.safetensors").exists()
        return error.removeprefix("calltune: ").strip()

    return run


def test_a_learning_rate_out_of_all_bounds(stopped: Callable[..., str], tmp_path: Path) -> None:
    told = stopped("sft", *WILD, "tracking.mlflow=true")
    assert told.startswith("sft: step 2: the gradient norm is nan (rows synthetic-train-0-")
    assert "; look at learning_rate (" in told
    # What was saved after the first step is finite, and is kept; nothing is of the second.
    assert sealed(tmp_path / "runs" / "toy" / "sft") == ["checkpoint-1"]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    states = {run.info.run_name: run.info.status for run in client.search_runs(["1"])}
    assert states == {"toy": "FAILED", "toy-sft": "FAILED"}


@pytest.mark.parametrize(
    "overrides",
    [
        ["sft.gradient_accumulation_steps=2"],
        ["tuning.method=lora"],
        ["launch.tokens_per_batch=256"],
        ["sft.max_grad_norm=0.0"],
        ["sft.logging_steps=100"],
        ["sft.packing=true", "sft.max_length=400"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_every_way_to_train_is_watched(overrides: list[str], stopped: Callable[..., str]) -> None:
    told = stopped("sft", *WILD, *overrides)
    assert told.startswith("sft: step 2: the ")
    assert " (rows synthetic-train-0-" in told


@pytest.mark.parametrize("number", [NAN, INFINITY])
@pytest.mark.parametrize("verb", ["sft", "dpo"])
def test_a_base_that_holds_no_number_is_told_before_the_first_step(
    verb: str, number: float, stopped: Callable[..., str], tiny_model: Path, tmp_path: Path
) -> None:
    model = with_number(tiny_model, tmp_path / "m", number=number)
    told = stopped(verb, f'stages=["{verb}"]', model=model)
    assert told == f"model '{model}': its weights are not finite: '{DOWN}' holds nan or an infinity"


def test_weights_that_are_numbers_and_too_large_for_any_step(
    stopped: Callable[..., str], tiny_model: Path, tmp_path: Path
) -> None:
    """The reference of DPO, and the first loss of SFT."""
    model = with_number(tiny_model, tmp_path / "m", name="model.norm.weight", number=3e38)
    told = stopped("sft", model=model)
    assert told.startswith("sft: step 1: the loss is ")
    assert f"no step was taken yet: look at the weights of {model}, and at these rows" in told
    told = stopped("dpo", 'stages=["dpo"]', "name=other", model=model)
    assert told.startswith("dpo: the reference's log-probability of the chosen answer is ")
    assert " (row synthetic-" in told
    assert f"look at the weights of {model}" in told


def test_a_mixture_of_losses(stopped: Callable[..., str]) -> None:
    losses = ["dpo.loss_type=['sigmoid', 'bco_pair', 'sft']", "dpo.loss_weights=[0.8, 0.2, 1.0]"]
    told = stopped("dpo", 'stages=["dpo"]', "dpo.learning_rate=1e30", *losses)
    assert told.startswith("dpo: step 2: the ")
    assert "look at learning_rate (" in told


def test_a_validation_loss(stopped: Callable[..., str]) -> None:
    wild = ["data.validation_fraction=0.3", "sft.max_steps=1", "sft.learning_rate=3e38"]
    told = stopped("sft", *wild)
    assert told.startswith("sft: step 1: the validation loss is ")
    assert " (row" in told


def test_check_tells_it_too(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--time", str(write_run_file()), "sft.learning_rate=1e30"]) == 2
    assert capsys.readouterr().err.startswith("calltune: sft, a probe: step 2: the gradient norm is nan (rows ")
    assert not (tmp_path / "runs").exists()


def test_the_filter_of_transformers_cannot_be_switched_on(write_run_file: Callable[..., Path]) -> None:
    settings = stage_settings(load_config(write_run_file()), "sft")
    assert settings.arguments.logging_nan_inf_filter is False
    with pytest.raises(
        ConfigError, match=r"'sft\.logging_nan_inf_filter' cannot be set: a loss that is no number ends"
    ):
        load_config(write_run_file(), ["sft.logging_nan_inf_filter=true"])


@pytest.mark.parametrize(
    ("recipe", "packing"),
    [(sft.RECIPE, False), (sft.RECIPE, True), (dpo.RECIPE, False)],
    ids=["sft", "packed", "dpo"],
)
def test_the_rows_of_a_batch_are_known_by_their_tokens(
    recipe: Any, packing: bool, write_run_file: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    rows = synthetic.examples(0, 6) if recipe is sft.RECIPE else synthetic.preferences(0, 6)
    kept = list(rows)
    write_jsonl(tmp_path / "rows.jsonl", map(training_row, kept))
    chat = Chat(load_tokenizer(str(tiny_model)), "m")
    fitted = fit_rows(chat, recipe, tmp_path / "rows.jsonl", None)
    config = load_config(write_run_file(), [f"sft.packing={str(packing).lower()}"])
    from calltune.models.load import load_model

    trainer = recipe.trainer(
        model=load_model(str(tiny_model), torch.float32),
        args=stage_settings(config, recipe.stage).arguments_with(output_dir=str(tmp_path), max_length=600),
        train_dataset=to_dataset(fitted.texts),
        processing_class=chat.tokenizer,
    )
    names = row_names(chat, fitted)
    found = [name for batch in trainer.get_train_dataloader() for name in names(token_rows(batch))]
    assert sorted(found) == sorted(row.id for row in kept)


def test_a_weight_is_named(tiny_model: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).requires_grad_(False))
    assert not_finite_weight(model) == ""
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        model.to(dtype)
        model[1].bias.data[1] = -INFINITY
        assert not_finite_weight(model) == "1.bias"
        # Those that are not trained do not change.
        assert not_finite_weight(model, trained_only=True) == ""
        model[1].bias.data[1] = 0
    model[0].weight.data[0, 0] = NAN
    with pytest.raises(NotFiniteError, match=r"x: its weights are not finite: '0\.weight' holds nan or an infinity"):
        require_finite_weights(model, "x")


def test_a_model_that_its_base_s_precision_cannot_hold(
    stopped: Callable[..., str], tiny_model: Path, tmp_path: Path
) -> None:
    """Trained in float32, and shipped as float16: weights beyond 65,504 are infinite there."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.half().save_pretrained(tmp_path / "half")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "half" / name).write_bytes((tiny_model / name).read_bytes())
    told = stopped("sft", "sft.learning_rate=1e6", "sft.max_steps=1", "sft.optim=sgd", model=tmp_path / "half")
    assert told.startswith("sft: the trained model, as float16: its weights are not finite: 'model.")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_all_processes_stop_and_one_line_is_told(
    strategy: str, write_run_file: Callable[..., Path], tmp_path: Path
) -> None:
    file = write_run_file()
    assert main(["prepare", str(file)]) == 0
    two = ["launch.processes=2", f"launch.strategy={strategy}", "sft.per_device_train_batch_size=2"]
    done = subprocess.run(
        [sys.executable, "-m", "calltune", "sft", str(file), *two, *WILD],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("calltune: sft: step 2: the ")
    assert "Traceback" not in done.stderr
    folder = tmp_path / "runs" / "toy" / "sft"
    assert sealed(folder) == ["checkpoint-1"]
    assert not (folder / "manifest.json").exists()
    assert json.loads((folder / "inputs.json").read_text())["processes"] == 2
