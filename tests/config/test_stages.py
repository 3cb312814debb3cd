"""What checkpoints are called."""

from pathlib import Path

import pydantic
import pytest

from calltune.config.run_file import load_config
from calltune.config.stages import CheckpointName, checkpoint_names, of_round, stage_of
from calltune.errors import ConfigError


def test_the_first_round_has_the_plain_names() -> None:
    assert [of_round("mined", number) for number in (1, 2, 12)] == ["mined", "mined-2", "mined-12"]
    assert checkpoint_names(("sft", "dpo"), 1) == ("base", "sft", "dpo")
    assert checkpoint_names(("dpo",), 3) == ("base", "dpo", "dpo-2", "dpo-3")
    assert checkpoint_names(("sft",), 1) == ("base", "sft")
    assert checkpoint_names(("sft", "dpo", "grpo"), 2) == ("base", "sft", "dpo", "dpo-2", "grpo")
    assert [stage_of(name) for name in ("sft", "dpo", "dpo-2", "grpo")] == ["sft", "dpo", "dpo", "grpo"]


def test_a_stage_that_the_run_does_not_have_is_one_line() -> None:
    config = load_config(Path(__file__).parents[2] / "examples" / "quickstart.toml")
    assert config.trained_from("dpo") == "sft"
    with pytest.raises(ConfigError, match=r"'stages' does not name 'grpo' \(it names sft, dpo\)"):
        config.trained_from("grpo")


@pytest.mark.parametrize("name", ["base", "sft", "dpo", "dpo-2", "dpo-10"])
def test_a_run_file_may_name(name: str) -> None:
    assert pydantic.TypeAdapter(CheckpointName).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "dpo-1", "dpo-0", "dpo-02", "dpo2", "sft-2", "mined", "../dpo", "dpo\n"])
def test_a_run_file_may_not_name(name: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(CheckpointName).validate_python(name)
