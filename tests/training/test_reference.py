"""DPO's reference log-probabilities, stored: TRL's numbers, computed once, and runs that end as they would without."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.sft_config import SFTConfig

from calltune.calling.chat import Chat
from calltune.config.run_file import Config, load_config
from calltune.data.rows import read_examples, training_row
from calltune.data.sources import synthetic
from calltune.files.json_lines import write_jsonl
from calltune.files.manifest import finish, read_manifest
from calltune.models.load import load_model, load_tokenizer
from calltune.training.recipe import fit_rows
from calltune.training.reference import can_store, stand_in, store_reference
from calltune.training.settings import stage_settings
from calltune.training.sharing import share_prefixes
from calltune.training.trainer import to_dataset
from calltune.verbs import dpo, prepare, sft


def made_trainer(config: Config, model: Path, folder: Path, *, stored: bool) -> Any:
    """A DPO trainer over seven pairs; not `stored`, as TRL makes it, with its reference model."""
    write_jsonl(folder / "pairs.jsonl", map(training_row, synthetic.preferences(0, 7)))
    chat, settings = Chat(load_tokenizer(str(model))), stage_settings(config, "dpo")
    rows = fit_rows(chat, dpo.RECIPE, folder / "pairs.jsonl", None)
    arguments = settings.arguments_with(output_dir=str(folder), max_length=rows.max_length)
    return dpo.RECIPE.trainer(
        model=load_model(str(model), torch.float32),
        args=arguments,
        train_dataset=to_dataset(rows.texts),
        eval_dataset=to_dataset(rows.texts[:3]),
        processing_class=chat.tokenizer,
        peft_config=settings.lora,
        **(stand_in(arguments, is_peft=settings.lora is not None) if stored else {}),
    )


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_numbers_are_those_of_trls_reference_model(
    method: str, shared: bool, write_run_file: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    config = load_config(write_run_file(), [f"tuning.method={method}"])
    plain = made_trainer(config, tiny_model, tmp_path, stored=False)
    batch = plain.data_collator(list(plain.train_dataset))
    expected = torch.stack(plain.compute_ref_log_probs(plain.ref_model or plain.model, batch))
    trainer = made_trainer(config, tiny_model, tmp_path, stored=True)
    sharing = share_prefixes(trainer.model)
    if not shared:
        sharing.turn_off("to compare")
    store_reference(trainer, tmp_path / "reference", sharing)
    assert trainer.ref_model is None
    columns = [trainer.train_dataset[name] for name in ("ref_chosen_logps", "ref_rejected_logps")]
    torch.testing.assert_close(torch.tensor([list(column) for column in columns]), expected, rtol=1e-5, atol=1e-5)
    assert len(trainer.eval_dataset["ref_chosen_logps"]) == 3


def test_they_are_computed_once(
    write_run_file: Callable[..., Path], tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = load_config(write_run_file()), tmp_path / "reference"

    def stored(change: float = 0.0) -> list[float]:
        trainer = made_trainer(config, tiny_model, tmp_path, stored=True)
        with torch.no_grad():
            trainer.model.model.norm.weight += change
        store_reference(trainer, folder, share_prefixes(trainer.model))
        return list(trainer.train_dataset["ref_chosen_logps"])

    first = stored()
    assert "read from" not in capsys.readouterr().out
    files = sorted(folder.iterdir())
    assert len(files) == 2
    # What is in the files is believed, so a second trainer computes nothing.
    for file in files:
        file.write_text(json.dumps({key: [1.0] * len(v) for key, v in json.loads(file.read_text()).items()}))
    assert stored() == [1.0] * 7
    assert "reference: log-probabilities of 7 pairs read from" in capsys.readouterr().out
    # Other weights have other numbers, in files of their own.
    assert stored(change=0.5) != first
    assert len(list(folder.iterdir())) == 4


def test_a_folder_s_hash_stands_for_its_weights(
    write_run_file: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    config, folder = load_config(write_run_file()), tmp_path / "reference"

    def files_after(weights: str, dtype: torch.dtype = torch.float32) -> int:
        trainer = made_trainer(config, tiny_model, tmp_path, stored=True)
        trainer.model.to(dtype)
        store_reference(trainer, folder, share_prefixes(trainer.model), weights=weights)
        return len(list(folder.iterdir()))

    assert files_after("one") == 2
    assert files_after("one") == 2
    assert files_after("other") == 4
    # Of one folder, models in two precisions.
    assert files_after("one", torch.bfloat16) == 6


@pytest.mark.parametrize(
    "arguments",
    [
        lambda folder: DPOConfig(output_dir=folder, use_cpu=True, bf16=False, precompute_ref_log_probs=True),
        lambda folder: DPOConfig(output_dir=folder, use_cpu=True, bf16=False, sync_ref_model=True),
        lambda folder: SFTConfig(output_dir=folder, use_cpu=True, bf16=False),
    ],
)
def test_what_moves_or_is_asked_of_trl_stays_trls(arguments: Callable[[str], Any], tmp_path: Path) -> None:
    made = arguments(str(tmp_path))
    assert not can_store(made)
    assert stand_in(made, is_peft=False) == {}


def history(config: Config) -> list[dict[str, float]]:
    """What was logged, less what depends on the clock."""
    dpo.run(config)
    log = json.loads((config.run_folder / "dpo" / "history.json").read_text())["log"]
    clocks = ("runtime", "per_second", "total_flos")
    return [{k: v for k, v in row.items() if not any(clock in k for clock in clocks)} for row in log]


@pytest.mark.parametrize(
    "overrides",
    [
        ["dpo.loss_type=['sigmoid', 'bco_pair', 'sft']", "dpo.loss_weights=[0.8, 0.2, 1.0]", "dpo.learning_rate=1e-3"],
        ["dpo.loss_type=ipo", "tuning.method=lora", "lora.r=4", "dpo.gradient_checkpointing=true"],
    ],
    ids=["mpo", "ipo, lora, checkpointing"],
)
def test_a_run_ends_with_the_same_metrics(write_run_file: Callable[..., Path], overrides: list[str]) -> None:
    file = write_run_file(top='stages = ["dpo"]')
    everywhere = [*overrides, "dpo.num_train_epochs=2", "dpo.logging_steps=1", "data.validation_fraction=0.2"]
    logs, facts = [], []
    for name, shared in (("with", "true"), ("without", "false")):
        config = load_config(file, [*everywhere, f"name={name}", f"tuning.share_prefixes={shared}"])
        prepare.run(config)
        logs.append(history(config))
        facts.append(json.loads((config.run_folder / "dpo" / "manifest.json").read_text())["shared_prefixes"])
    assert len(logs[0]) == len(logs[1]) > 6
    for found, expected in zip(*logs, strict=True):
        assert found == pytest.approx(expected, rel=2e-3, abs=2e-4)
    assert facts[0]["off_because"] is None
    assert facts[0]["token_ratio"] > 1.5
    assert facts[1]["off_because"] == "tuning.share_prefixes is false"


def test_rows_with_the_same_tools_share_their_batches(write_run_file: Callable[..., Path]) -> None:
    file, computed = write_run_file(top='stages = ["sft"]'), {}
    for grouped in ("tools", ""):
        overrides = ["sft.num_train_epochs=1", "sft.per_device_train_batch_size=8"]
        config = load_config(file, [*overrides, *([f"data.group_by={grouped}"] if grouped else [])])
        prepare.run(config)
        rows = config.run_folder / "data" / "train.jsonl"
        examples = read_examples(rows)
        # Three agents, each with its tools.
        write_jsonl(
            rows, [training_row(replace(row, tools=examples[number % 3].tools)) for number, row in enumerate(examples)]
        )
        finish(rows.parent, read_manifest(rows.parent)["inputs"])
        sft.run(config)
        facts = json.loads((config.run_folder / "sft" / "manifest.json").read_text())["shared_prefixes"]
        computed[grouped] = facts["computed_tokens"]
    assert computed["tools"] < 0.8 * computed[""]
    assert (config.run_folder / "sft.old-1").is_dir(), "another order is another run"
