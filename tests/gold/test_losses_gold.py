"""Our losses and gradients against stock TRL 1.16 on the same conversations (`losses_trl.py`).

Where they differ, and why:

- TRL trains on what a template writes after the end of a turn, here a newline, which is never generated; ours ends an
  answer where generation ends. So ours equals TRL with the template closed after the turn's end.
- Fed with strings, as ours feeds it, TRL adds the end-of-sequence token where a text does not end with it, fed with
  conversations it does not. It matters where a template ends turns with another token than the tokenizer's (those of
  base models): there ours trains that token after the turn's own end.
- Rows that do not fit are cut or dropped by TRL; ours leaves them out whole before TRL sees them.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from losses_rows import LOSSES, ROWS, loss_and_gradient, move_away, save_model, tokenizer

from calltune.calling.chat import Chat
from calltune.calling.schema import normalize_tool
from calltune.config.run_file import Config, load_config
from calltune.data.rows import training_row
from calltune.files.json_lines import write_jsonl
from calltune.models.load import load_model, load_tokenizer
from calltune.training.labelled_head import score_labels_only
from calltune.training.recipe import Recipe, fit_rows
from calltune.training.settings import stage_settings
from calltune.training.trainer import to_dataset
from calltune.types import Example, Message, Preference, ToolCall
from calltune.verbs import dpo, sft

GOLD = json.loads((Path(__file__).parent / "losses.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("losses")
    torch.set_num_threads(1)
    save_model(made, tokenizer())
    write_jsonl(made / "examples.jsonl", [training_row(row[0]) for row in nouns()])
    write_jsonl(made / "pairs.jsonl", [training_row(row[1]) for row in nouns()])
    return made


@pytest.fixture
def settings(write_run_file: Callable[..., Path]) -> Callable[..., Config]:
    return lambda **keys: load_config(
        write_run_file(),
        ["sft.per_device_train_batch_size=64", "dpo.per_device_train_batch_size=64", "dpo.beta=0.1"]
        + [f"dpo.{key}={value}" for key, value in keys.items()],
    )


def noun(row: dict[str, Any]) -> Message:
    calls = [call["function"] for call in row.get("tool_calls", [])]
    return Message(row["role"], row["content"], tuple(ToolCall(c["name"], c["arguments"]) for c in calls))


def nouns() -> list[tuple[Example, Preference]]:
    rows = []
    for number, (prompt, tools, good, bad) in enumerate(ROWS):
        ours = tuple(map(noun, prompt))
        # The gold rows' schemas go to TRL as they are, so nothing may be normalised away.
        offered = tuple(replace(normalize_tool(tool, "gold"), parameters=tool["parameters"]) for tool in tools)
        example = Example(str(number), "gold", (*ours, noun(good)), offered, "direct")
        rows.append((example, Preference(str(number), "gold", ours, offered, noun(good), noun(bad), "direct")))
    return rows


def ours(recipe: Recipe, config: Config, file: Path) -> dict[str, float]:
    """The batch, the loss and its gradient as a stage of training has them."""
    chat = Chat(load_tokenizer(str(file.parent)))
    rows = fit_rows(chat, recipe, file, None)
    trainer = recipe.trainer(
        model=load_model(str(file.parent), torch.float32),
        args=stage_settings(config, recipe.stage).arguments_with(
            output_dir=str(file.parent), max_length=rows.max_length
        ),
        train_dataset=to_dataset(rows.texts),
        processing_class=chat.tokenizer,
    )
    move_away(trainer.model)
    for model in (trainer.model, getattr(trainer, "ref_model", None)):
        if model is not None:
            score_labels_only(model)
    return loss_and_gradient(trainer)


def with_newline(recipe: Recipe) -> Recipe:
    def row_text(chat: Chat, row: Any) -> dict[str, str]:
        texts = recipe.row_text(chat, row)
        return {key: text if key == "prompt" else text + "\n" for key, text in texts.items()}

    return replace(recipe, row_text=row_text)


@pytest.mark.parametrize("loss", ["sft", *LOSSES])
def test_losses_and_gradients_are_trl_s(loss: str, folder: Path, settings: Callable[..., Config]) -> None:
    recipe, file = (sft.RECIPE, "examples.jsonl") if loss == "sft" else (dpo.RECIPE, "pairs.jsonl")
    config = settings(**LOSSES.get(loss, {}))
    assert ours(recipe, config, folder / file) == pytest.approx(GOLD["closed"][loss], rel=1e-5)


def test_stock_trl_trains_one_more_token_a_row() -> None:
    stock, closed = GOLD["as_it_is"]["sft"], GOLD["closed"]["sft"]
    assert stock["num_labels"] - closed["num_labels"] == stock["num_tokens"] - closed["num_tokens"] == len(ROWS)


def test_the_end_that_trl_adds_to_a_text_has_room(folder: Path, settings: Callable[..., Config]) -> None:
    """Two tokens more than ours a row, the newline and the added end, also in the longest row."""
    longer = ours(with_newline(sft.RECIPE), settings(), folder / "examples.jsonl")
    assert longer["num_labels"] - GOLD["closed"]["sft"]["num_labels"] == 2 * len(ROWS)
