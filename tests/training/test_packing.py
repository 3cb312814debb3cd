"""What TRL's packing does with our rows: the answers stay the only labels, and no row sees another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import HYBRIDS, make_model

from calltune.calling.chat import Chat
from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.data.rows import training_row
from calltune.data.sources import synthetic
from calltune.errors import ConfigError
from calltune.files.json_lines import write_jsonl
from calltune.models.load import load_model, load_tokenizer
from calltune.training.labelled_head import score_labels_only
from calltune.training.recipe import fit_rows
from calltune.training.settings import stage_settings
from calltune.training.trainer import to_dataset
from calltune.verbs import sft

NUM_ROWS = 12


@pytest.fixture(params=["sdpa", "eager"])
def trainer(request: Any, write_run_file: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> Any:
    write_jsonl(tmp_path / "rows.jsonl", map(training_row, synthetic.examples(0, NUM_ROWS)))
    chat = Chat(load_tokenizer(str(tiny_model)))
    rows = fit_rows(chat, sft.RECIPE, tmp_path / "rows.jsonl", None)
    config = load_config(write_run_file(), ["sft.packing=true", "sft.per_device_train_batch_size=2"])
    return sft.RECIPE.trainer(
        model=load_model(str(tiny_model), torch.float32, attn_implementation=request.param),
        args=stage_settings(config, "sft").arguments_with(output_dir=str(tmp_path), max_length=2 * rows.max_length),
        train_dataset=to_dataset(rows.texts),
        processing_class=chat.tokenizer,
    )


def documents(batch: dict[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and labels of each row of a packed batch."""
    starts = (batch["position_ids"][0] == 0).nonzero()[:, 0].tolist()
    sizes = torch.tensor([*starts, batch["input_ids"].shape[1]]).diff().tolist()
    return list(zip(batch["input_ids"][0].split(sizes), batch["labels"][0].split(sizes), strict=True))


def test_every_answer_is_labelled_whole_and_nothing_else(trainer: Any, tiny_model: Path) -> None:
    chat = Chat(load_tokenizer(str(tiny_model)))
    expected = {}
    for example in synthetic.examples(0, NUM_ROWS):
        prompt = chat.prompt(example.prompt, example.tools)
        expected[prompt + chat.answer(example.prompt, example.tools, example.answers[0])] = prompt
    found = [row for batch in trainer.get_train_dataloader() for row in documents(batch)]
    assert len(found) == len(expected) == NUM_ROWS
    for ids, labels in found:
        text = chat.tokenizer.decode(ids)
        assert chat.tokenizer.decode(labels[labels != -100]) == text.removeprefix(expected.pop(text))
    assert not expected


def test_a_packed_row_gives_the_loss_and_gradients_of_its_rows_alone(trainer: Any) -> None:
    batch = next(iter(trainer.get_train_dataloader()))
    rows = documents(batch)
    assert len(rows) > 2
    num_labels = sum(int((labels != -100).sum()) for _, labels in rows)
    score_labels_only(trainer.model)

    def gradients(batches: list[dict[str, Any]]) -> tuple[float, list[torch.Tensor]]:
        trainer.model.zero_grad()
        losses = [trainer.compute_loss(trainer.model, each, num_items_in_batch=num_labels) for each in batches]
        torch.stack(losses).sum().backward()
        return float(torch.stack(losses).sum().detach()), [p.grad.clone() for p in trainer.model.parameters()]

    packed_loss, packed = gradients([dict(batch)])
    alone_loss, alone = gradients([{"input_ids": ids[None], "labels": labels[None]} for ids, labels in rows])
    assert packed_loss == pytest.approx(alone_loss, rel=1e-5)
    for mine, theirs in zip(packed, alone, strict=True):
        assert (mine - theirs).norm() <= 1e-4 * theirs.norm() + 1e-8


def test_cutting_rows_to_fill_a_packed_row_is_refused(write_run_file: Callable[..., Path]) -> None:
    config = load_config(write_run_file(), ["sft.packing=true", "sft.packing_strategy=wrapped"])
    with pytest.raises(ConfigError, match="'wrapped' cuts answers in two"):
        stage_settings(config, "sft")


@pytest.mark.parametrize(("name", "missing"), [("lfm2", "causal-conv1d"), ("qwen3.5", "causal-conv1d and flash-")])
@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_hybrid_whose_first_step_would_fail_is_refused_beforehand(
    name: str,
    missing: str,
    verb: str,
    write_run_file: Callable[..., Path],
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokenizer, (family, options) = load_tokenizer(str(tiny_model)), HYBRIDS[name]
    model = make_model(family, **options, vocab_size=len(tokenizer))
    # What TRL hands a model beside the ids of packed rows.
    ends = torch.tensor([0, 2, 4], dtype=torch.int32)
    packed = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "seq_idx": torch.tensor([[0, 0, 1, 1]], dtype=torch.int32)}
    with pytest.raises(ValueError, match="can't keep packed sequences apart"):
        model(
            input_ids=torch.tensor([[1, 2, 3, 4]]), position_ids=torch.tensor([[0, 1, 0, 1]]), use_cache=False, **packed
        )
    folder = tmp_path / "hybrid"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = write_run_file()
    assert main([verb, str(file), f"model={folder}", "sft.packing=true"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("calltune: 'sft.packing': this model's layers with a state ")
    assert f"keep packed rows apart only with {missing}" in last
    assert not list((tmp_path / "runs").glob("*/sft/*.safetensors"))
