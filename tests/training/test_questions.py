"""Which questions a model is asked in training: whole ones, for whose answers there is room."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.calling.chat import Chat
from calltune.config.run_file import Config, load_config
from calltune.errors import DataError
from calltune.models.load import load_tokenizer
from calltune.training.questions import fit_questions
from calltune.training.recipe import FittedRows
from calltune.training.settings import stage_settings
from calltune.verbs import grpo, prepare


@pytest.fixture
def fitted(write_run_file: Callable[..., Path]) -> Callable[..., FittedRows]:
    def fit(*words: str) -> FittedRows:
        file = write_run_file("[grpo]\nper_device_train_batch_size = 8\n", top='stages = ["grpo"]')
        config: Config = load_config(file, words)
        prepare.run(config)
        chat = Chat(load_tokenizer(config.model))
        train = config.run_folder / "data" / "train.jsonl"
        return fit_questions(chat, grpo.RECIPE, train, stage_settings(config, "grpo"), config.model)

    return fit


def test_examples_and_pairs_are_asked_once_each(fitted: Callable[..., FittedRows]) -> None:
    found = fitted()
    assert len(found.texts) == len(found.rows) == len({*found.ids}) == 40
    assert found.too_long == []
    assert found.groups == [row.behavior for row in found.rows]
    assert found.ids == [row.id for row in found.rows]
    assert found.max_length == found.longest > 512
    assert all(text["prompt"] and text["completion"] for text in found.texts)


def test_a_question_without_room_for_its_known_answer_is_left_out_whole_and_told(
    fitted: Callable[..., FittedRows], capsys: pytest.CaptureFixture[str]
) -> None:
    found = fitted("grpo.max_completion_length=20")
    assert 0 < len(found.texts) < 40
    assert len(found.texts) + len(found.too_long) == 40
    left_out = f"{len(found.too_long)} as the known answer has more than max_completion_length = 20"
    assert left_out in capsys.readouterr().out


def test_a_prompt_that_leaves_no_room_for_an_answer_is_left_out_whole(
    fitted: Callable[..., FittedRows], capsys: pytest.CaptureFixture[str]
) -> None:
    # vLLM is told how much room it has.
    found = fitted("grpo.use_vllm=true", "grpo.max_completion_length=64", "grpo.vllm_max_model_length=170")
    assert 0 < len(found.texts) < 40
    assert found.max_length <= 170
    assert "left out as prompt and answer have more than 170 tokens" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"train.jsonl: no question fits: prompt and max_completion_length = 32,000"):
        fitted("grpo.max_completion_length=32000", "grpo.use_vllm=true", "grpo.vllm_max_model_length=9000")
