from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from calltune.calling.chat import Chat
from calltune.config.run_file import Config, load_config
from calltune.data.rows import training_row
from calltune.data.sources import synthetic
from calltune.errors import DataError
from calltune.files.json_lines import write_jsonl
from calltune.files.tracking import Tracker
from calltune.models.load import load_model, load_tokenizer
from calltune.training.checkpoints import in_order, newest_whole
from calltune.training.labelled_head import score_labels_only
from calltune.training.recipe import fit_rows
from calltune.training.settings import stage_settings
from calltune.training.steps import train
from calltune.verbs import dpo, sft


@pytest.fixture
def config(write_run_file: Callable[..., Path]) -> Config:
    return load_config(write_run_file())


@pytest.fixture
def chat(tiny_model: Path) -> Chat:
    return Chat(load_tokenizer(str(tiny_model)))


def pairs_file(folder: Path, number: int = 6) -> Path:
    write_jsonl(folder / "pairs.jsonl", map(training_row, synthetic.preferences(0, number)))
    return folder / "pairs.jsonl"


def trainer_of(recipe, config: Config, chat: Chat, model: Path, file: Path):
    from calltune.training.trainer import to_dataset

    rows = fit_rows(chat, recipe, file, None)
    return recipe.trainer(
        model=load_model(str(model), torch.float32),
        args=stage_settings(config, recipe.stage).arguments_with(
            output_dir=str(file.parent / "checkpoints"), max_length=rows.max_length
        ),
        train_dataset=to_dataset(rows.texts),
        processing_class=chat.tokenizer,
    )


def test_dpo_batches_hold_the_tools_and_train_on_the_answers_alone(
    config: Config, chat: Chat, tiny_model: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(dpo.RECIPE, config, chat, tiny_model, pairs_file(tmp_path))
    pairs = {chat.prompt(p.prompt, p.tools): p for p in synthetic.preferences(0, 6)}
    batch = next(iter(trainer.get_train_dataloader()))
    half = len(batch["input_ids"]) // 2
    for number, (ids, mask) in enumerate(zip(batch["input_ids"], batch["completion_mask"], strict=True)):
        attended = batch["attention_mask"][number].bool()
        prompt = chat.tokenizer.decode(ids[attended & ~mask.bool()])
        pair = pairs[prompt]
        answer = pair.chosen if number < half else pair.rejected
        assert chat.tokenizer.decode(ids[mask.bool()]) == chat.answer(pair.prompt, pair.tools, answer)
        for tool in pair.tools:
            assert prompt.count(f'"{tool.name}"') == 1


def test_sft_batches_hold_the_tools_and_train_on_the_answer_alone(
    config: Config, chat: Chat, tiny_model: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "train.jsonl", map(training_row, synthetic.examples(0, 6)))
    trainer = trainer_of(sft.RECIPE, config, chat, tiny_model, tmp_path / "train.jsonl")
    examples = {chat.prompt(e.prompt, e.tools): e for e in synthetic.examples(0, 6)}
    batch = next(iter(trainer.get_train_dataloader()))
    for ids, labels, attended in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        prompt = chat.tokenizer.decode(ids[attended.bool() & (labels == -100)])
        example = examples[prompt]
        expected = chat.answer(example.prompt, example.tools, example.answers[0])
        assert chat.tokenizer.decode(labels[labels != -100]) == expected


@pytest.mark.parametrize("recipe", [sft.RECIPE, dpo.RECIPE], ids=["sft", "dpo"])
def test_the_labelled_head_is_exact(recipe, config: Config, chat: Chat, tiny_model: Path, tmp_path: Path) -> None:
    file = pairs_file(tmp_path)
    if recipe is sft.RECIPE:
        write_jsonl(file, map(training_row, synthetic.examples(0, 6)))
    trainer = trainer_of(recipe, config, chat, tiny_model, file)
    batch = next(iter(trainer.get_train_dataloader()))

    def step() -> tuple[torch.Tensor, list[torch.Tensor], dict]:
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, dict(batch))
        loss.backward()
        metrics = {key: values[-1] for key, values in trainer._metrics["train"].items()}
        return loss.detach(), [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None], metrics

    loss, gradients, metrics = step()
    score_labels_only(trainer.model)
    if getattr(trainer, "ref_model", None) is not None:
        score_labels_only(trainer.ref_model)
    ours, our_gradients, our_metrics = step()
    torch.testing.assert_close(ours, loss, rtol=1e-6, atol=0)
    for mine, theirs in zip(our_gradients, gradients, strict=True):
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm() + 1e-9
    assert our_metrics == pytest.approx(metrics, rel=1e-4, abs=1e-6)


def test_rows_that_do_not_fit_are_left_out_whole_and_counted(chat: Chat, tmp_path: Path) -> None:
    file = pairs_file(tmp_path, 12)
    everything = fit_rows(chat, dpo.RECIPE, file, None)
    assert len(everything.texts) == 12
    assert everything.too_long == []
    longest = [
        max(len(chat.tokenizer(t["prompt"] + t[key]).input_ids) for key in ("chosen", "rejected"))
        for t in everything.texts
    ]
    assert everything.max_length == max(longest)
    limit = sorted(longest)[5]
    some = fit_rows(chat, dpo.RECIPE, file, limit)
    assert len(some.texts) == sum(length <= limit for length in longest)
    assert len(some.texts) + len(some.too_long) == 12
    assert some.counts()["rows_too_long"] == len(some.too_long)
    with pytest.raises(DataError, match="no row fits into max_length = 3; the shortest has"):
        fit_rows(chat, dpo.RECIPE, file, 3)
    watched = fit_rows(chat, dpo.RECIPE, file, 3, needed=False)
    assert watched.texts == []
    assert len(watched.too_long) == 12


def test_no_step_is_done_again_when_training_was_over(
    write_run_file: Callable[..., Path], chat: Chat, tiny_model: Path, tmp_path: Path
) -> None:
    """Killed while the model was saved, in the middle of an epoch, the trainer alone would do one step more."""
    config = load_config(write_run_file(), ["sft.max_steps=2", "sft.per_device_train_batch_size=2"])
    write_jsonl(tmp_path / "train.jsonl", map(training_row, synthetic.examples(0, 12)))

    def trained(checkpoint: Path | None) -> tuple[int, float]:
        trainer = trainer_of(sft.RECIPE, config, chat, tiny_model, tmp_path / "train.jsonl")
        state, seconds = train(trainer, "sft", checkpoint, Tracker())
        return state.global_step, seconds

    steps, seconds = trained(None)
    assert steps == 2
    assert seconds > 0
    last = newest_whole(tmp_path / "checkpoints", "sft")
    assert last is not None
    assert trained(last) == (2, 0.0)
    assert [path.name for path in in_order(tmp_path / "checkpoints")] == ["checkpoint-2", "checkpoint-1"]
