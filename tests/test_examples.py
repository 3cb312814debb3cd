"""Every run file in examples/ can be read, and names only what exists."""

import re
from pathlib import Path
from typing import Any

import pytest

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.data.preparation import open_sources
from calltune.evaluation.jobs import open_benchmarks
from calltune.training.settings import stage_settings

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "examples").glob("*.toml"))


def test_there_are_examples() -> None:
    assert len(FILES) >= 4


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_key_is_known(file: Path) -> None:
    config = load_config(file)
    assert open_sources(config)
    assert open_benchmarks(config)
    for stage in config.stages:
        assert stage_settings(config, stage).stage == stage


@pytest.mark.parametrize("model", ["qwen3-0.6b", "qwen3-1.7b", "llama-3.2-3b"])
def test_the_published_recipe_is_what_trl_gets(model: str) -> None:
    config = load_config(ROOT / "examples" / f"when2call-{model}-published.toml")
    sft, dpo = (stage_settings(config, stage).arguments for stage in ("sft", "dpo"))
    assert shared(sft) == {"epochs": 10, "batch": (4, 2), "rate": 5e-5, "schedule": "cosine", "seed": 42}
    assert (sft.packing, sft.packing_strategy, sft.max_length, sft.loss_type) == (True, "bfd", 2048, "nll")
    # transformers 5 takes a share of the steps where a number of steps was.
    assert sft.get_warmup_steps(1000) == 100
    assert shared(dpo) == {"epochs": 10, "batch": (2, 8), "rate": 5e-7, "schedule": "constant", "seed": 42}
    assert (dpo.beta, dpo.loss_type, dpo.max_length, dpo.get_warmup_steps(1000)) == (0.1, ["sigmoid"], 1536, 0)
    tuning = config.tuning.of("sft")
    assert (tuning.method, tuning.spectrum_percent, tuning.train_embeddings, tuning.train_head) == (
        "spectrum",
        50,
        True,
        True,
    )
    assert config.tuning.of("dpo").method == "full"
    assert [source.options["split"] for source in config.data.sources] == ["train_sft", "train_pref"]


@pytest.mark.parametrize("model", ["qwen3-0.6b", "qwen3-1.7b", "llama-3.2-3b"])
def test_the_improved_recipe_mixes_calls_in_and_trains_with_mpo_on_whole_rows(model: str) -> None:
    config = load_config(ROOT / "examples" / f"when2call-{model}.toml")
    sft, dpo = (stage_settings(config, stage).arguments_with(max_length=777) for stage in ("sft", "dpo"))
    assert shared(sft) == {"epochs": 1, "batch": (4, 2), "rate": 5e-5, "schedule": "cosine", "seed": 42}
    assert shared(dpo) == {"epochs": 1, "batch": (2, 8), "rate": 5e-7, "schedule": "constant", "seed": 42}
    assert (dpo.loss_type, dpo.loss_weights, dpo.beta) == (["sigmoid", "bco_pair", "sft"], [0.8, 0.2, 1.0], 0.1)
    # 777 stands for the longest row's length, which nothing in the file overrules.
    assert (sft.max_length, dpo.max_length, sft.packing) == (777, 777, True)
    assert any(source.options.get("as_examples") for source in config.data.sources)
    assert [config.tuning.of(stage).method for stage in ("sft", "dpo")] == ["spectrum", "full"]


def shared(arguments: Any) -> dict[str, Any]:
    return {
        "epochs": arguments.num_train_epochs,
        "batch": (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps),
        "rate": arguments.learning_rate,
        "schedule": arguments.lr_scheduler_type.value,
        "seed": arguments.seed,
    }


HUB = [file for file in FILES if file.stem.startswith("when2call") and not load_config(file).model.endswith(".gguf")]


@pytest.mark.parametrize("file", HUB, ids=lambda file: file.stem)
def test_check_goes_as_far_as_the_hub(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 2
    shown = capsys.readouterr()
    assert "INFO: TRL and PEFT know every key of [sft], [dpo], [lora]" in shown.out
    # What is asked of the Hub first: the questions, or the model.
    away = (
        r"(nvidia/When2Call: not a local file|model '\S+': not a local folder), and the (Hugging Face )?Hub did not .*"
    )
    assert re.fullmatch(rf"calltune: {away}\n", shown.err)


def test_the_readme_names_every_file() -> None:
    """A stranger should guess the file from the feature; the file map may not go stale."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = [
        path
        for path in (ROOT / "src" / "calltune").iterdir()
        if path.name not in ("__init__.py", "__main__.py", "__pycache__")
    ]
    missing = [path.name for path in rooms if f"`{path.name}" not in readme]
    assert not missing
